// The baseline of P4: the same sessions in rte_hash, looked up in bulk and updated as conntrack.Touch updates them.
//
//   rte_hash SESSIONS
//
// Prints "ready" once the table is filled, then answers each line "SEED COUNT" with "NANOSECONDS FOUND": the thread's
// processor time for COUNT look-ups with update, keys made outside of it. The sessions and the order of look-ups are those
// of work.go.

#define _GNU_SOURCE
#include <inttypes.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>

#include <rte_eal.h>
#include <rte_hash.h>
#include <rte_hash_crc.h>
#include <rte_memory.h>
#include <rte_prefetch.h>

#define BURST 64
#define CHUNK 32 // bursts between two looks at the clock

struct key { // 16 bytes
	uint32_t src, dst;
	uint16_t sport, dport;
	uint32_t proto;
};

struct record { // 64 bytes, as conntrack's
	uint64_t addr[2];
	uint32_t ports[2];
	uint8_t state, local;
	uint16_t flags, owner;
	uint8_t proto, kind, bits, bucket;
	uint16_t timeout;
	uint32_t seen, next[2], ack[2];
	uint16_t window[2];
	uint32_t side;
};

struct segment {
	uint32_t seq, ack, payload;
	uint16_t window;
	uint8_t flags;
};

static struct record *records;
static struct rte_hash *table;

static void make_key(uint32_t i, int reply, struct key *k)
{
	uint16_t port = 1024 + i % 60000;
	uint32_t step = i / 60000;
	if (!reply)
		*k = (struct key){0x0a000000 + step, 0xc6336401, port, 80, 6};
	else
		*k = (struct key){0xc0a80001, 0xac100000 + step, 8080, port, 6};
}

static uint64_t mix(uint64_t *state) // splitmix64
{
	uint64_t z = *state += 0x9e3779b97f4a7c15;
	z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9;
	z = (z ^ z >> 27) * 0x94d049bb133111eb;
	return z ^ z >> 31;
}

static inline void touch(struct record *r, int d, const struct segment *s, uint32_t now)
{
	if (r->state != 1 || (r->local & 0xf7) != 3 || r->flags != 0 || r->owner != 1 || r->proto != 6 || (s->flags & 0x17) != 0x10)
		return;
	uint32_t end = s->seq + s->payload;
	if ((s->payload | (end ^ r->next[d]) | (s->ack ^ r->ack[d]) | (uint32_t)(s->window ^ r->window[d])) == 0) {
		r->local += 16;
		r->seen = now;
		return;
	}
	r->seen = now;
	if (r->next[d ^ 1] - s->ack > 1u << 26)
		return;
	if ((int32_t)(end - r->next[d]) > 0)
		r->next[d] = end;
	if ((int32_t)(s->ack - r->ack[d]) > 0)
		r->ack[d] = s->ack;
	r->window[d] = s->window;
}

static uint64_t thread_ns(void)
{
	struct timespec t;
	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
	return (uint64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

static void measure(uint64_t seed, uint64_t count, uint32_t n)
{
	static struct key keys[CHUNK * BURST];
	const void *ptr[BURST];
	void *data[BURST];
	struct segment s = {.seq = 1, .ack = 7, .payload = 100, .flags = 0x10};
	uint64_t ns = 0, found = 0;
	for (uint64_t done = 0; done < count; done += CHUNK * BURST) {
		for (int i = 0; i < CHUNK * BURST; i++)
			make_key((uint32_t)((unsigned __int128)mix(&seed) * n >> 64), i & 1, &keys[i]);
		uint64_t start = thread_ns();
		for (int c = 0; c < CHUNK; c++) {
			uint64_t hits = 0;
			for (int i = 0; i < BURST; i++)
				ptr[i] = &keys[c * BURST + i];
			rte_hash_lookup_bulk_data(table, ptr, BURST, &hits, data);
			for (int i = 0; i < BURST; i++)
				if (hits >> i & 1)
					rte_prefetch0(&records[(uintptr_t)data[i] >> 1]);
			for (int i = 0; i < BURST; i++)
				if (hits >> i & 1) {
					touch(&records[(uintptr_t)data[i] >> 1], (uintptr_t)data[i] & 1, &s, (uint32_t)done);
					found++;
				}
		}
		ns += thread_ns() - start;
	}
	printf("%" PRIu64 " %" PRIu64 "\n", ns, found);
	fflush(stdout);
}

static int huge(const struct rte_memseg_list *l, void *arg)
{
	(void)arg;
	madvise(l->base_va, l->len, MADV_HUGEPAGE); // the baseline gets huge pages too
	return 0;
}

int main(int argc, char **argv)
{
	if (argc != 2)
		return 2;
	uint32_t n = strtoul(argv[1], NULL, 10);
	char mem[32];
	snprintf(mem, sizeof mem, "%" PRIu64, 256 + (uint64_t)n * 400 / 1000000);
	char *eal[] = {argv[0], "--no-huge", "--no-shconf", "--no-pci", "--no-telemetry", "-l", "0", "-m", mem, "--log-level", "4"};
	if (rte_eal_init(sizeof eal / sizeof *eal, eal) < 0)
		return 3;
	cpu_set_t all;
	CPU_ZERO(&all);
	for (int i = 0; i < CPU_SETSIZE; i++)
		CPU_SET(i, &all);
	sched_setaffinity(0, sizeof all, &all); // the kernel chooses, as for the other side
	rte_memseg_list_walk(huge, NULL);
	struct rte_hash_parameters p = {.name = "sessions", .entries = n * 2 + n / 4, .key_len = sizeof(struct key), .hash_func = rte_hash_crc};
	table = rte_hash_create(&p);
	size_t size = ((size_t)n + 1) * sizeof(struct record);
	records = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (!table || records == MAP_FAILED) {
		fprintf(stderr, "rte_hash: no memory for %u sessions\n", n);
		return 4;
	}
	madvise(records, size, MADV_HUGEPAGE);
	for (uint32_t i = 0; i < n; i++) {
		records[i] = (struct record){.state = 1, .local = 3, .owner = 1, .proto = 6, .next = {i, 7}, .ack = {7, i}};
		for (int d = 0; d < 2; d++) {
			struct key k;
			make_key(i, d, &k);
			if (rte_hash_add_key_data(table, &k, (void *)((uintptr_t)i << 1 | d)) < 0) {
				fprintf(stderr, "rte_hash: full at session %u\n", i);
				return 5;
			}
		}
	}
	printf("ready\n");
	fflush(stdout);
	uint64_t seed, count;
	while (scanf("%" SCNu64 " %" SCNu64, &seed, &count) == 2)
		measure(seed, count, n);
	return 0;
}
