#include "textflag.h"

// Offsets in flow.Key, record and path, sizes and bits; stage_amd64_unsafe.go checks them.
#define KEY 40
#define K_META 32
#define R_PORTS 16
#define R_PROTO 30
#define R_KIND 31
#define P_SERVER 16
#define P_PORTS 48
#define WIDE 0x80
#define ENDS 0xc3
#define SIX 0x83
#define IPV4 4
#define IPV6 6

// func confirmed(rec []record, paths []path, keys *flow.Key, refs *Ref, n int) (right int)
TEXT ·confirmed(SB), NOSPLIT, $0-80
	MOVQ rec_base+0(FP), R8
	MOVQ paths_base+24(FP), R10
	MOVQ keys+48(FP), DI
	MOVQ refs+56(FP), SI
	XORL R13, R13
	PXOR X5, X5
	JMP  more

next:
	MOVL (SI)(R13*4), AX
	MOVL AX, DX
	SHRL $1, AX
	CMPQ AX, rec_len+8(FP)
	JCC  stop
	ANDL $1, DX // d
	SHLQ $6, AX
	ADDQ R8, AX
	MOVBLZX R_PROTO(AX), R9
	MOVBLZX R_KIND(AX), BX
	SHLL $8, R9
	TESTL $WIDE, BX
	JNE  wide
	MOVL R_PORTS(AX)(DX*4), R15
	MOVQ (AX)(DX*8), R12
	SHLQ $32, R15
	LEAQ IPV4(R15)(R9*1), R15
	XORQ 0(DI), R12
	XORQ K_META(DI), R15
	ORQ  R15, R12
	JNE  stop

right:
	ADDQ $KEY, DI
	INCQ R13

more:
	CMPQ R13, n+64(FP)
	JLT  next

stop:
	MOVQ R13, right+72(FP)
	RET

	// Which direction comes next can't be predicted: no jumps.
wide:
	ANDL $ENDS, BX
	CMPL BX, $SIX
	JNE  stop
	MOVL R_PORTS(AX), BX
	CMPQ BX, paths_len+32(FP)
	JCC  stop
	SHLQ $6, BX
	ADDQ R10, BX
	MOVL R_PORTS+4(AX), R12 // the client's and the local one
	MOVL P_PORTS(BX), R15 // the server's and the VIP's
	MOVL $0xffff, CX
	MOVL $0xffff0000, R11
	LEAQ P_SERVER(BX), R14
	TESTL DX, DX
	CMOVLEQ R11, CX
	CMOVQEQ AX, R14
	SHLL $5, DX
	MOVOU (R14), X0 // source
	MOVOU (BX)(DX*1), X1 // destination
	MOVOU 0(DI), X2
	MOVOU 16(DI), X3
	XORL R15, R12
	ANDL CX, R12
	XORL R15, R12
	SHLQ $32, R12
	LEAQ IPV6(R12)(R9*1), R12
	XORQ K_META(DI), R12
	MOVQ R12, X4
	PXOR X2, X0
	PXOR X3, X1
	POR  X1, X0
	POR  X4, X0
	PCMPEQB X5, X0
	PMOVMSKB X0, BX
	CMPL BX, $0xffff
	JEQ  right
	JMP  stop
