package coordinator

import (
	"cmp"
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"slices"
	"time"

	"cloud.google.com/go/longrunning/autogen/longrunningpb"
	rpcstatus "google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/timestamppb"

	syncv1 "github.com/holdfast-lb/holdfast/proto/gen/holdfast/sync/v1"
	"github.com/holdfast-lb/holdfast/services/sync-coordinator/membership"
)

// keptOperations is the number of operations that are remembered; the oldest that ended go first.
const keptOperations = 100

// Verbs of operations.
const (
	verbDrain    = "drain"
	verbBulkSync = "bulkSync"
)

// bulkSettle is how long after its order a stock may still look like the one before, milliseconds.
const bulkSettle = 2000

// operationBound is how long an operation may be under way, milliseconds. One that waits for a node that is stuck ends with
// an error, and makes room.
const operationBound = 600_000

// operation is a long-running operation. What it waits for is read off the membership each time, so one that was begun by
// another replica ends all the same.
type operation struct {
	ID       string `json:"id"`
	Verb     string `json:"verb"`
	Node     uint32 `json:"node"`
	Inc      uint64 `json:"inc"`
	Created  int64  `json:"created"` // unix milliseconds
	Ended    int64  `json:"ended,omitempty"`
	Expected uint64 `json:"expected,omitempty"`
	Done     uint64 `json:"done,omitempty"`
	Error    string `json:"error,omitempty"`
}

// begin adds an operation, or returns the one of the same kind that runs already.
func (t *term) begin(now int64, verb string, n membership.Node) operation {
	for _, o := range t.ops {
		if o.Verb == verb && o.Node == n.ID && o.Inc == n.Inc && o.Ended == 0 {
			return o
		}
	}
	var id [8]byte
	_, _ = rand.Read(id[:]) // never fails
	o := operation{ID: hex.EncodeToString(id[:]), Verb: verb, Node: n.ID, Inc: n.Inc, Created: now}
	t.ops = append(t.ops, o)
	if len(t.ops) > keptOperations {
		i := slices.IndexFunc(t.ops, func(o operation) bool { return o.Ended != 0 })
		t.ops = slices.Delete(t.ops, max(i, 0), max(i, 0)+1)
	}
	t.opsNew = true
	return o
}

// turnOperations ends the operations whose goal is reached, or can't be any more.
func (t *term) turnOperations() {
	for i := range t.ops {
		o := &t.ops[i]
		if o.Ended != 0 {
			continue
		}
		n, _ := t.m.Node(o.Node)
		over := n.Inc != o.Inc || !n.Member()
		now := t.c.clock()
		switch {
		case o.Verb == verbDrain && over:
			if n.Inc != o.Inc || n.Cause != membership.CauseLeft {
				o.Error = "the node went before it was drained"
			}
		case o.Verb == verbBulkSync && over:
			o.Error = "the node went before it had the stock"
		case o.Verb == verbBulkSync && now-o.Created >= bulkSettle:
			whole := true
			o.Expected, o.Done = 0, 0
			for _, b := range t.status[o.Node].GetBulk() {
				o.Expected += b.GetExpected()
				o.Done += b.GetReceived()
				whole = whole && b.GetEnded()
			}
			if !whole {
				if now-o.Created < operationBound {
					continue
				}
				o.Error = "not every member gave its stock in time"
			}
		case now-o.Created >= operationBound:
			o.Error = "the node did not end it in time; it may go on there"
		default:
			continue
		}
		o.Ended = now
		t.opsNew = true
	}
}

func (t *term) operationProto(now int64, o operation) (*longrunningpb.Operation, error) {
	n, _ := t.m.Node(o.Node)
	meta := &syncv1.OperationMetadata{
		Verb: o.Verb, Target: "nodes/" + n.Name, CreateTime: timestamppb.New(time.UnixMilli(o.Created)),
		Expected: o.Expected, Done: o.Done,
	}
	if o.Ended != 0 {
		meta.EndTime = timestamppb.New(time.UnixMilli(o.Ended))
	} else {
		meta.Detail = "under way"
	}
	packed, err := anypb.New(meta)
	if err != nil {
		return nil, fmt.Errorf("pack metadata: %w", err)
	}
	p := &longrunningpb.Operation{Name: "operations/" + o.ID, Metadata: packed, Done: o.Ended != 0}
	switch {
	case o.Ended == 0:
	case o.Error != "":
		p.Result = &longrunningpb.Operation_Error{Error: &rpcstatus.Status{Code: int32(codes.Aborted), Message: o.Error}}
	default:
		res, err := anypb.New(t.nodeProto(now, &n))
		if err != nil {
			return nil, fmt.Errorf("pack result: %w", err)
		}
		p.Result = &longrunningpb.Operation_Response{Response: res}
	}
	return p, nil
}

// newestFirst orders operations by their beginning, then by id.
func newestFirst(ops []operation) []operation {
	ops = slices.Clone(ops)
	slices.SortFunc(ops, func(a, b operation) int {
		return cmp.Or(cmp.Compare(b.Created, a.Created), cmp.Compare(a.ID, b.ID))
	})
	return ops
}
