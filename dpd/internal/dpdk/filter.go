//go:build dpdk

package dpdk

/*
#include <stdlib.h>
#include <string.h>
#include <rte_config.h>
#include <rte_ethdev.h>
#include <rte_flow.h>

#define HF_ITEMS 4
#define HF_SPREAD 128

enum { HF_ETH = 1, HF_IPV4, HF_IPV6, HF_TCP, HF_UDP };

// hf_item is one layer: kind, and the header's bytes of spec and mask.
struct hf_item {
	uint8_t kind, len, any;
	uint8_t spec[40], mask[40];
};

struct hf_rule {
	struct hf_item item[HF_ITEMS];
	uint32_t n, priority, nspread, keylen;
	uint64_t types;
	uint16_t queue;
	uint16_t spread[HF_SPREAD];
	uint8_t key[64];
};

union hf_header {
	struct rte_flow_item_eth eth;
	struct rte_flow_item_ipv4 ipv4;
	struct rte_flow_item_ipv6 ipv6;
	struct rte_flow_item_tcp tcp;
	struct rte_flow_item_udp udp;
};

static enum rte_flow_item_type hf_type(uint8_t kind) {
	switch (kind) {
	case HF_ETH: return RTE_FLOW_ITEM_TYPE_ETH;
	case HF_IPV4: return RTE_FLOW_ITEM_TYPE_IPV4;
	case HF_IPV6: return RTE_FLOW_ITEM_TYPE_IPV6;
	case HF_TCP: return RTE_FLOW_ITEM_TYPE_TCP;
	case HF_UDP: return RTE_FLOW_ITEM_TYPE_UDP;
	}
	return RTE_FLOW_ITEM_TYPE_END;
}

// hf_flow asks the device for a rule: creates it, or only validates it when out is NULL.
static int hf_flow(uint16_t port, const struct hf_rule *r, struct rte_flow **out, char *why, size_t whylen) {
	union hf_header spec[HF_ITEMS], mask[HF_ITEMS];
	struct rte_flow_item pattern[HF_ITEMS + 1];
	struct rte_flow_attr attr = {.priority = r->priority, .ingress = 1};
	struct rte_flow_action_queue queue = {.index = r->queue};
	struct rte_flow_action_rss rss = {
		.func = RTE_ETH_HASH_FUNCTION_TOEPLITZ, .types = r->types, .key_len = r->keylen, .key = r->key,
		.queue_num = r->nspread, .queue = r->spread,
	};
	struct rte_flow_action action[2];
	struct rte_flow_error error;
	int ret = 0;
	memset(spec, 0, sizeof spec);
	memset(mask, 0, sizeof mask);
	memset(pattern, 0, sizeof pattern);
	memset(action, 0, sizeof action);
	memset(&error, 0, sizeof error);
	for (uint32_t i = 0; i < r->n; i++) {
		pattern[i].type = hf_type(r->item[i].kind);
		if (r->item[i].any)
			continue;
		memcpy(&spec[i], r->item[i].spec, r->item[i].len);
		memcpy(&mask[i], r->item[i].mask, r->item[i].len);
		pattern[i].spec = &spec[i];
		pattern[i].mask = &mask[i];
	}
	pattern[r->n].type = RTE_FLOW_ITEM_TYPE_END;
	if (r->nspread > 0) {
		action[0].type = RTE_FLOW_ACTION_TYPE_RSS;
		action[0].conf = &rss;
	} else {
		action[0].type = RTE_FLOW_ACTION_TYPE_QUEUE;
		action[0].conf = &queue;
	}
	action[1].type = RTE_FLOW_ACTION_TYPE_END;
	if (out == NULL) {
		ret = rte_flow_validate(port, &attr, pattern, action, &error);
	} else {
		rte_errno = 0;
		*out = rte_flow_create(port, &attr, pattern, action, &error);
		if (*out == NULL)
			ret = rte_errno != 0 ? -rte_errno : -EINVAL;
	}
	if (ret != 0 && error.message != NULL)
		snprintf(why, whylen, "%s", error.message);
	return ret;
}

static int hf_flow_destroy(uint16_t port, struct rte_flow *f, char *why, size_t whylen) {
	struct rte_flow_error error;
	memset(&error, 0, sizeof error);
	int ret = rte_flow_destroy(port, f, &error);
	if (ret != 0 && error.message != NULL)
		snprintf(why, whylen, "%s", error.message);
	return ret;
}
*/
import "C"

import (
	"errors"
	"fmt"
	"syscall"
	"unsafe"

	"github.com/holdfast-lb/holdfast/dpd/internal/flow"
	"github.com/holdfast-lb/holdfast/dpd/internal/steer"
)

const errNotSupported = syscall.ENOTSUP

// whyMax bounds what a device may say about a refusal.
const whyMax = 160

// Filter is the rule table of one device.
type Filter struct {
	p      *Port
	queues int
	flows  []*C.struct_rte_flow // on the control thread
}

// supported asks whether the driver has rules at all. It does not believe a yes to any rule: only creating proves one.
func (f *Filter) supported() bool {
	pat, err := patternOf(&steer.Rule{Purpose: steer.CatchAll})
	if err != nil {
		return false
	}
	rule := f.rule(&pat, nil)
	var why [whyMax]C.char
	return C.hf_flow(C.uint16_t(f.p.id), &rule, nil, &why[0], whyMax) != -C.int(syscall.ENOSYS)
}

// Create offers the rules to the device in their order, by creating them: validation alone says yes to rules that
// creation refuses. The result says for each rule whether the device took it, or why not. Rules of an earlier Create stay.
func (f *Filter) Create(rules []steer.Rule) []RuleResult {
	res := make([]RuleResult, len(rules))
	for i := range rules {
		res[i].Rule = rules[i]
	}
	err := f.p.rt.do(func() {
		for i := range rules {
			if err := f.create(&rules[i]); err != nil {
				res[i].Reason = err.Error()
			} else {
				res[i].Hardware = true
			}
		}
	})
	if err != nil {
		for i := range res {
			res[i].Reason = err.Error()
		}
	}
	return res
}

// DestroyAll takes every rule off the device.
func (f *Filter) DestroyAll() error {
	var err error
	if e := f.p.rt.do(func() { err = f.destroyAll() }); e != nil {
		return e
	}
	return err
}

func (f *Filter) create(r *steer.Rule) error {
	if f.p.closed {
		return ErrClosed
	}
	if !f.p.info.HasFilter {
		return fmt.Errorf("driver %s has no rte_flow", f.p.info.Driver)
	}
	pat, err := patternOf(r)
	if err != nil {
		return err
	}
	if err := f.queuesExist(&pat); err != nil {
		return err
	}
	rule := f.rule(&pat, r)
	var why [whyMax]C.char
	var out *C.struct_rte_flow
	if ret := C.hf_flow(C.uint16_t(f.p.id), &rule, &out, &why[0], whyMax); ret != 0 {
		return refusal(ret, &why)
	}
	f.flows = append(f.flows, out)
	return nil
}

// queuesExist refuses what names a queue that the device does not have: some devices take such rules and lose packets.
func (f *Filter) queuesExist(pat *pattern) error {
	queues := pat.spread
	if queues == nil {
		queues = []uint16{pat.queue}
	}
	for _, q := range queues {
		if int(q) >= f.queues {
			return fmt.Errorf("queue %d of a device with %d receive queues", q, f.queues)
		}
	}
	return nil
}

// rule lays a pattern out for C.
func (f *Filter) rule(pat *pattern, r *steer.Rule) C.struct_hf_rule {
	c := C.struct_hf_rule{n: C.uint32_t(len(pat.items)), priority: C.uint32_t(pat.priority), queue: C.uint16_t(pat.queue)}
	for i := range pat.items {
		it, ci := &pat.items[i], &c.item[i]
		ci.kind, ci.len = C.uint8_t(it.kind), C.uint8_t(it.n)
		if it.any {
			ci.any = 1
		}
		*(*[headerMax]byte)(unsafe.Pointer(&ci.spec)) = it.spec
		*(*[headerMax]byte)(unsafe.Pointer(&ci.mask)) = it.mask
	}
	c.nspread = C.uint32_t(len(pat.spread))
	for i, q := range pat.spread {
		c.spread[i] = C.uint16_t(q)
	}
	c.keylen = C.uint32_t(len(pat.key))
	for i, b := range pat.key {
		c.key[i] = C.uint8_t(b)
	}
	if pat.spread != nil {
		c.types = rssType(r)
	}
	return c
}

// rssType is the hash input of a spreading rule: source address and source port.
func rssType(r *steer.Rule) C.uint64_t {
	const source = C.RTE_ETH_RSS_L3_SRC_ONLY | C.RTE_ETH_RSS_L4_SRC_ONLY
	switch {
	case r.Family == flow.IPv4 && r.Proto == flow.ProtoTCP:
		return C.RTE_ETH_RSS_NONFRAG_IPV4_TCP | source
	case r.Family == flow.IPv4 && r.Proto == flow.ProtoUDP:
		return C.RTE_ETH_RSS_NONFRAG_IPV4_UDP | source
	case r.Family == flow.IPv6 && r.Proto == flow.ProtoTCP:
		return C.RTE_ETH_RSS_NONFRAG_IPV6_TCP | source
	case r.Family == flow.IPv6 && r.Proto == flow.ProtoUDP:
		return C.RTE_ETH_RSS_NONFRAG_IPV6_UDP | source
	}
	return C.RTE_ETH_RSS_IP | C.RTE_ETH_RSS_L3_SRC_ONLY
}

func (f *Filter) destroyAll() error {
	var errs []error
	var why [whyMax]C.char
	for i := len(f.flows) - 1; i >= 0; i-- {
		if ret := C.hf_flow_destroy(C.uint16_t(f.p.id), f.flows[i], &why[0], whyMax); ret != 0 {
			errs = append(errs, fmt.Errorf("destroy rule %d: %w", i, refusal(ret, &why)))
		}
	}
	f.flows = nil
	return errors.Join(errs...)
}

// refusal is the device's reason in words, and the error number in any case.
func refusal(ret C.int, why *[whyMax]C.char) error {
	err := syscall.Errno(-ret)
	if why[0] == 0 {
		return err
	}
	return fmt.Errorf("%s: %w", C.GoString(&why[0]), err)
}
