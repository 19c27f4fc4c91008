#include "textflag.h"

// Offsets in Plain and record and sizes; stage_amd64_unsafe.go checks them.
#define PLAIN 32
#define P_ADDR 0
#define P_PORTS 8
#define P_SEQ 12
#define P_ACK 16
#define P_PAYLOAD 20
#define P_WINDOW 24
#define P_SIZE 26
#define R_ADDR 0
#define R_PORTS 16
#define R_WORD 24
#define R_SEEN 36
#define R_NEXT 40
#define R_ACK 48
#define R_WINDOW 56
#define SPAN 0x4000000  // ackSpan
#define AHEAD 0x1000000 // ackAhead

// func follow(rec []record, refs *Ref, p *Plain, n int, mask, want uint64, now expiry.Tick) (done int)
TEXT ·follow(SB), NOSPLIT, $0-80
	MOVQ rec_base+0(FP), R8
	MOVQ refs+24(FP), SI
	MOVQ p+32(FP), DI
	MOVQ n+40(FP), CX
	MOVQ mask+48(FP), R10
	MOVQ want+56(FP), R11
	MOVL now+64(FP), R12
	XORL R13, R13

next:
	MOVL (SI)(R13*4), AX
	MOVL AX, DX
	SHRL $1, AX
	CMPQ AX, rec_len+8(FP)
	JCC  stop
	ANDL $1, DX // d
	SHLQ $6, AX
	ADDQ R8, AX
	MOVQ R_ADDR(AX)(DX*8), BX
	MOVL R_PORTS(AX)(DX*4), R9
	MOVQ R_WORD(AX), R15
	XORQ P_ADDR(DI), BX
	XORL P_PORTS(DI), R9
	ANDQ R10, R15
	XORQ R11, R15
	ORQ  R9, BX
	ORQ  R15, BX
	JNE  stop
	CMPW P_SIZE(DI), $0
	JEQ  stop
	MOVL P_PAYLOAD(DI), R15
	MOVL P_SEQ(DI), BX
	MOVL P_ACK(DI), R9
	ADDL R15, BX // end
	TESTL R15, R15
	JEQ  empty

new:
	MOVL R12, R_SEEN(AX)
	MOVL DX, R15
	XORL $1, R15 // o
	MOVL R_NEXT(AX)(R15*4), R14
	SUBL R9, R14
	CMPL R14, $SPAN
	JHI  ahead

plausible:
	MOVL BX, R14
	SUBL R_NEXT(AX)(DX*4), R14
	TESTL R14, R14
	JLE  acked // not after what was seen
	MOVL BX, R_NEXT(AX)(DX*4)

acked:
	MOVL R9, R14
	SUBL R_ACK(AX)(DX*4), R14
	TESTL R14, R14
	JLE  window
	MOVL R9, R_ACK(AX)(DX*4)

window:
	MOVW P_WINDOW(DI), R14
	MOVW R14, R_WINDOW(AX)(DX*2)

outgoing:
	MOVQ R_ADDR(AX)(R15*8), R14
	MOVL R_PORTS(AX)(R15*4), BX
	ROLQ $32, R14
	ROLL $16, BX
	MOVQ R14, P_ADDR(DI)
	MOVL BX, P_PORTS(DI)
	ADDQ $PLAIN, DI
	INCQ R13
	CMPQ R13, CX
	JLT  next

stop:
	MOVQ R13, done+72(FP)
	RET

ahead:
	MOVL R9, R14
	SUBL R_ACK(AX)(DX*4), R14
	CMPL R14, $AHEAD
	JHI  outgoing
	JMP  plausible

	// Without data, what it says must be new.
empty:
	MOVL R_NEXT(AX)(DX*4), R14
	XORL BX, R14
	MOVL R_ACK(AX)(DX*4), R15
	XORL R9, R15
	ORL  R15, R14
	MOVW R_WINDOW(AX)(DX*2), R15
	XORW P_WINDOW(DI), R15
	MOVWLZX R15, R15
	ORL  R15, R14
	JNE  new
	JMP  stop
