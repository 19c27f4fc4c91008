#include "textflag.h"

// Offsets in a plain frame, in port.Packet, conntrack.Plain and packet.Gate, and sizes; stage_amd64_unsafe.go checks them.
#define FRAME 54
#define VERSION 14
#define TOTAL 16
#define TTL 22
#define SRC 26
#define DST 30
#define DATAOFF 46
#define LEN 8
#define PACKET 32
#define PAYLOAD 20
#define PLAIN 32
#define MASK 0
#define LOW 64
#define HIGH 128

// Bytes of the frame as conntrack.Plain has them: source and destination, ports, numbers, window, total size. 63 is a byte that is 0.
DATA ·order<>+0(SB)/8, $0x1a1b1c1d1e1f2021
DATA ·order<>+8(SB)/8, $0x2627282922232425
DATA ·order<>+16(SB)/8, $0x3f3f3f3f2a2b2c2d
DATA ·order<>+24(SB)/8, $0x3f3f3f3f10113031
GLOBL ·order<>(SB), RODATA|NOPTR, $32

// func note(pkt *port.Packet, n int, gate *packet.Gate, said *conntrack.Plain) (noted int)
TEXT ·note(SB), NOSPLIT, $0-40
	MOVQ pkt+0(FP), SI
	MOVQ n+8(FP), CX
	MOVQ gate+16(FP), R8
	MOVQ said+24(FP), DI
	XORL R13, R13
	MOVQ $0x3fffffffffffff, AX // as many ones as FRAME
	KMOVQ AX, K1
	VMOVDQU64 MASK(R8), Z16
	VMOVDQU64 LOW(R8), Z17
	VMOVDQU64 HIGH(R8), Z18
	VMOVDQU ·order<>(SB), Y3

next:
	MOVQ 0(SI), R9
	MOVQ LEN(SI), R10
	CMPQ R10, $FRAME
	JLT  done
	VMOVDQU8.Z (R9), K1, Z0

	// Every byte within its bounds.
	VPANDQ Z16, Z0, Z1
	VPCMPUB $5, Z17, Z1, K2
	VPCMPUB $2, Z18, Z1, K2, K2
	KORTESTQ K2, K2
	JCC  done
	CMPB SRC(R9), $127
	JEQ  done

	// The lengths agree.
	MOVWLZX TOTAL(R9), AX
	ROLW $8, AX
	MOVBLZX DATAOFF(R9), BX
	SHRL $2, BX
	ANDL $0x3c, BX
	SUBQ AX, R10
	CMPQ R10, $VERSION
	JLT  done
	MOVL AX, DX
	SUBL BX, DX
	SUBL $20, DX
	JLT  done

	// The header's checksum is right.
	MOVQ VERSION(R9), R11
	MOVL DST(R9), R12
	ADDQ TTL(R9), R11
	ADCQ R12, R11
	ADCQ $0, R11
	MOVQ R11, R12
	SHRQ $32, R12
	ADDL R12, R11
	ADCL $0, R11
	MOVL R11, R12
	SHRL $16, R12
	ADDW R12, R11
	ADCW $0, R11
	CMPW R11, $-1
	JNE  done

	VPERMB Z0, Z3, Z2
	VMOVDQU Y2, (DI)
	MOVL DX, PAYLOAD(DI)
	ADDQ $PACKET, SI
	ADDQ $PLAIN, DI
	INCQ R13
	CMPQ R13, CX
	JLT  next

done:
	VZEROUPPER
	MOVQ R13, noted+32(FP)
	RET
