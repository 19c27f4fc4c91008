#include "textflag.h"

// func prefetch(p *Packet, n int)
TEXT ·prefetch(SB), NOSPLIT, $0-16
	MOVQ p+0(FP), SI
	MOVQ n+8(FP), CX

next:
	MOVQ (SI), R9
	PREFETCHT1 (R9)
	ADDQ $32, SI
	DECQ CX
	JNZ  next
	RET
