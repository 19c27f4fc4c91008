#include "textflag.h"

// Field offsets as in burst.go.
#define BUFFER 0x00
#define DATAOFF 0x10
#define SEGMENTS 0x14
#define DATALEN 0x28
#define MINLEN 14

// Buffers are fetched this many packets ahead. The index wraps within the vector: what is fetched in vain there is an
// old reference, and a prefetch never faults.
#define AHEAD 16

// func unpack(out *[Max]View, vec *[Max]uintptr, n int) int
TEXT ·unpack(SB), NOSPLIT, $0-32
	MOVQ out+0(FP), DI
	MOVQ vec+8(FP), SI
	MOVQ n+16(FP), CX
	XORL AX, AX
	TESTQ CX, CX
	JLE  done

first:
	MOVQ (SI)(AX*8), R8
	PREFETCHT0 (R8)
	INCQ AX
	CMPQ AX, $AHEAD
	JLT  first
	XORL AX, AX

loop:
	MOVQ (SI)(AX*8), R8
	LEAL AHEAD(AX), DX
	ANDL $63, DX
	MOVQ (SI)(DX*8), DX
	PREFETCHT0 (DX)
	MOVWLZX DATALEN(R8), R11
	MOVWLZX DATAOFF(R8), R9
	ADDQ BUFFER(R8), R9
	CMPW SEGMENTS(R8), $1
	JNE  done
	CMPL R11, $MINLEN
	JCS  done
	BYTE $0x41; BYTE $0x0F; BYTE $0x0D; BYTE $0x09 // PREFETCHW (R9), which the assembler lacks
	MOVQ R9, 0(DI)
	MOVQ R11, 8(DI)
	MOVQ R11, 16(DI)
	MOVQ R8, 24(DI)
	ADDQ $32, DI
	INCQ AX
	CMPQ AX, CX
	JLT  loop

done:
	MOVQ AX, ret+24(FP)
	RET
