#include "textflag.h"

// Offsets in a plain frame, in port.Packet and Batch, conntrack.Plain, neigh.Route4, neigh.PlainHop and routeSlot4, and sizes;
// stage_amd64_unsafe.go checks them.
#define FRAME 54
#define TAIL 6
#define TTL 22
#define IPSUM 24
#define ADDR 26
#define PORTS 34
#define TCPSUM 50
#define LEN 8
#define PACKET 32
#define BATCH_SIZE 8200
#define BATCH_N 8192
#define BATCH_MAX 256
#define P_ADDR 0
#define P_PORTS 8
#define P_SIZE 26
#define PLAIN 32
#define ROUTE_MASK 0
#define ROUTE_NET 4
#define ROUTE_HOP 8
#define ROUTE 16
#define HOP_HEAD 0
#define HOP_TAIL 8
#define HOP_MTU 16
#define HOP_PORT 20
#define SLOT_DST 24
#define SLOT_SHIFT 5

// func rewrite(pkt *port.Packet, said *conntrack.Plain, n int, routes []neigh.Route4, slots *routeSlot4, tx []port.Batch) (done int)
TEXT ·rewrite(SB), NOSPLIT, $0-88
	MOVQ pkt+0(FP), R8
	MOVQ said+8(FP), SI
	MOVQ n+16(FP), CX

next:
	MOVQ P_ADDR(SI), AX // source<<32 | destination
	MOVL AX, BX
	MOVQ routes_base+24(FP), R9
	MOVQ routes_len+32(FP), DX
	TESTQ DX, DX
	JEQ  slot

route:
	MOVL ROUTE_MASK(R9), R10
	ANDL BX, R10
	CMPL R10, ROUTE_NET(R9)
	JEQ  routed
	ADDQ $ROUTE, R9
	DECQ DX
	JNE  route

	// On-link: every destination is a hop of its own. See routeCache.slot.
slot:
	IMUL3L $-0x61c8864f, BX, DX
	SHRL $22, DX
	SHLQ $SLOT_SHIFT, DX
	MOVQ slots+48(FP), R9
	ADDQ DX, R9 // begins with a PlainHop, as a Hop does
	CMPL SLOT_DST(R9), BX
	JNE  stop
	JMP  hop

routed:
	MOVQ ROUTE_HOP(R9), R9
	TESTQ R9, R9
	JEQ  slot

hop:
	MOVWLZX P_SIZE(SI), DX
	CMPL DX, HOP_MTU(R9)
	JGT  stop
	MOVLQSX HOP_PORT(R9), DX
	CMPQ DX, tx_len+64(FP)
	JCC  stop
	IMUL3Q $BATCH_SIZE, DX, DX
	ADDQ tx_base+56(FP), DX
	MOVQ BATCH_N(DX), BX
	CMPQ BX, $BATCH_MAX
	JCC  stop
	CMPQ LEN(R8), $FRAME
	JLT  stop
	MOVQ 0(R8), DI

	MOVQ HOP_HEAD(R9), R10
	MOVQ HOP_TAIL(R9), R11
	MOVQ R10, 0(DI)
	MOVQ R11, TAIL(DI)

	// What the new addresses do to the checksums, as a sum of 16 bits in 32. Words are as they lie in the frame, as a sum of ones'
	// complements comes out the same either way (RFC 1071, 2 (B)).
	BSWAPQ AX
	MOVQ ADDR(DI), R10
	NOTQ R10
	ADDQ AX, R10
	ADCQ $0, R10
	MOVQ R10, R11
	SHRQ $32, R11
	ADDL R10, R11
	ADCL $0, R11

	// TTL, its word's lower byte, and the header's checksum.
	MOVL TTL(DI), R10
	MOVL R10, R12
	DECL R10
	SHRL $16, R12
	XORL $0xffff, R12
	LEAQ 0xfffe(R12)(R11*1), R12
	MOVQ R12, R13
	SHRQ $32, R13
	ADDL R13, R12 // no carry: where there is a 1 to add, little is left
	MOVL R12, R13
	SHRL $16, R13
	ADDW R13, R12
	ADCW $0, R12
	NOTL R12
	SHLL $16, R12
	MOVWLZX R10, R10
	ORL  R10, R12
	MOVL R12, TTL(DI)

	// Ports and the checksum of TCP.
	MOVL P_PORTS(SI), R10
	MOVL PORTS(DI), R12
	MOVWLZX TCPSUM(DI), R13
	BSWAPL R10
	NOTL R12
	XORL $0xffff, R13
	ADDQ R10, R11
	ADDQ R12, R13
	ADDQ R13, R11
	MOVQ AX, ADDR(DI)
	MOVL R10, PORTS(DI)
	MOVQ R11, R13
	SHRQ $32, R13
	ADDL R13, R11
	ADCL $0, R11
	MOVL R11, R13
	SHRL $16, R13
	ADDW R13, R11
	ADCW $0, R11
	NOTL R11
	MOVW R11, TCPSUM(DI)

	// Queue it. Packet memory is never the Go heap's, so no write barrier is due.
	MOVOU 0(R8), X0
	MOVOU 16(R8), X1
	MOVQ BX, R10
	SHLQ $5, R10
	INCQ BX
	MOVOU X0, 0(DX)(R10*1)
	MOVOU X1, 16(DX)(R10*1)
	MOVQ BX, BATCH_N(DX)

	ADDQ $PACKET, R8
	ADDQ $PLAIN, SI
	DECQ CX
	JNE  next

stop:
	MOVQ n+16(FP), AX
	SUBQ CX, AX
	MOVQ AX, done+80(FP)
	RET
