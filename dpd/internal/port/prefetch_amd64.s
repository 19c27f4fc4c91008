#include "textflag.h"

// func prefetch(p *Packet, n int)
TEXT ·prefetch(SB), NOSPLIT, $0-16
	MOVQ p+0(FP), SI
	MOVQ n+8(FP), CX

next:
	MOVQ (SI), R9
	BYTE $0x41; BYTE $0x0F; BYTE $0x0D; BYTE $0x09 // PREFETCHW (R9), which the assembler lacks
	ADDQ $32, SI
	DECQ CX
	JNZ  next
	RET
