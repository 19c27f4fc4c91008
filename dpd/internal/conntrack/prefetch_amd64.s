#include "textflag.h"

// func prefetch(base unsafe.Pointer, off *uint64, n int)
TEXT ·prefetch(SB), NOSPLIT, $0-24
	MOVQ base+0(FP), DI
	MOVQ off+8(FP), SI
	MOVQ n+16(FP), CX
	SUBQ $4, CX
	JLT  tail

four:
	MOVQ 0(SI), R8
	MOVQ 8(SI), R9
	MOVQ 16(SI), R10
	MOVQ 24(SI), R11
	PREFETCHT1 (DI)(R8*1)
	PREFETCHT1 (DI)(R9*1)
	PREFETCHT1 (DI)(R10*1)
	PREFETCHT1 (DI)(R11*1)
	ADDQ $32, SI
	SUBQ $4, CX
	JGE  four

tail:
	ADDQ $4, CX
	JLE  done

one:
	MOVQ (SI), R8
	PREFETCHT1 (DI)(R8*1)
	ADDQ $8, SI
	DECQ CX
	JNZ  one

done:
	RET
