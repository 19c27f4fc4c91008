#include "textflag.h"

// Offsets in burst and sizes; stage_amd64_unsafe.go checks them.
#define HASH 0
#define BUCKET 2048
#define WAIT 4096
#define PLAIN 32
#define REFS 16 // in bucket
#define OVER 48

// func askPlain(b *burst, at int, p *Plain, n int, s *secret, buckets *bucket, count uint64)
TEXT ·askPlain(SB), NOSPLIT, $0-56
	MOVQ b+0(FP), DI
	MOVQ at+8(FP), AX
	MOVQ p+16(FP), SI
	MOVQ n+24(FP), CX
	MOVQ s+32(FP), R8
	MOVQ buckets+40(FP), R9
	MOVQ count+48(FP), R10
	LEAQ (DI)(AX*8), DI
	MOVQ 0(R8), R11
	MOVQ 8(R8), R12
	ADDQ $0x604, R12 // TCP, IPv4: the low half of flow.Key.Meta
	MOVQ 48(R8), R13
	MOVQ 56(R8), R15
	TESTQ CX, CX
	JLE  asked

ask:
	MOVQ 0(SI), AX
	ADDQ R11, AX
	MOVL 8(SI), DX
	SHLQ $32, DX
	ADDQ R12, DX
	MULQ DX
	XORQ R13, AX
	XORQ R15, DX
	MULQ DX
	XORQ DX, AX
	MOVQ AX, HASH(DI)
	MULQ R10
	SHLQ $6, DX
	MOVQ DX, BUCKET(DI)
	PREFETCHT1 (R9)(DX*1)
	ADDQ $PLAIN, SI
	ADDQ $8, DI
	DECQ CX
	JNZ  ask

asked:
	RET

// func match(b *burst, out *Ref, n int, buckets *bucket, records *record) (waiting int)
TEXT ·match(SB), NOSPLIT, $0-48
	MOVQ b+0(FP), DI
	MOVQ out+8(FP), SI
	MOVQ n+16(FP), CX
	MOVQ buckets+24(FP), R8
	MOVQ records+32(FP), R9
	LEAQ WAIT(DI), R12
	XORL R10, R10
	XORL BX, BX
	MOVL $1, R11
	TESTQ CX, CX
	JLE  matched

next:
	MOVQ BUCKET(DI), AX
	MOVWLZX HASH(DI), DX // the fingerprint; 0 is 1
	TESTL DX, DX
	CMOVLEQ R11, DX
	MOVQ DX, X0
	PSHUFLW $0, X0, X0
	PUNPCKLQDQ X0, X0
	MOVOU (R8)(AX*1), X1
	PCMPEQW X1, X0
	PMOVMSKB X0, DX
	TESTL DX, DX
	JEQ  none
	BSFL DX, DX
	ADDQ R8, AX
	MOVL REFS(AX)(DX*2), AX // two bits of the mask for each slot, four bytes for each ref
	MOVL AX, (SI)(BX*4)
	SHRL $1, AX
	SHLQ $6, AX
	PREFETCHT1 (R9)(AX*1)

more:
	ADDQ $8, DI
	INCQ BX
	CMPQ BX, CX
	JLT  next

matched:
	MOVQ R10, waiting+40(FP)
	RET

none:
	MOVL $0, (SI)(BX*4)
	CMPW OVER(R8)(AX*1), $0
	JEQ  more
	MOVB BX, (R12)(R10*1)
	INCQ R10
	JMP  more
