package cluster

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"strings"
	"time"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

	conntrackv1 "github.com/holdfast-lb/holdfast/proto/gen/holdfast/conntrack/v1"
	syncv1 "github.com/holdfast-lb/holdfast/proto/gen/holdfast/sync/v1"
)

const maxAnswer = 16 << 20

// REST asks the gateway, as any program would.
type REST struct {
	Base  string
	Token string
	http  http.Client
}

// REST is a client with the operator's token.
func (l *Lab) REST() (*REST, error) {
	token, err := os.ReadFile(l.tokenFile())
	if err != nil {
		return nil, fmt.Errorf("the gateway's token: %w", err)
	}
	return &REST{Base: RESTURL(), Token: strings.TrimSpace(string(token)), http: http.Client{Timeout: 5 * time.Second}}, nil
}

// Get reads path into answer.
func (r *REST) Get(ctx context.Context, path string, query url.Values, answer proto.Message) error {
	if len(query) > 0 {
		path += "?" + query.Encode()
	}
	return r.do(ctx, http.MethodGet, path, nil, answer)
}

func (r *REST) do(ctx context.Context, method, path string, body []byte, answer proto.Message) error {
	req, err := http.NewRequestWithContext(ctx, method, r.Base+path, bytes.NewReader(body))
	if err != nil {
		return err
	}
	req.Header.Set("Authorization", "Bearer "+r.Token)
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	resp, err := r.http.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	if err != nil {
		return err
	}
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("%s %s: %s: %s", method, path, resp.Status, bytes.TrimSpace(data))
	}
	return protojson.UnmarshalOptions{DiscardUnknown: true}.Unmarshal(data, answer)
}

// Nodes lists the members with their states.
func (r *REST) Nodes(ctx context.Context) ([]*syncv1.Node, error) {
	var a syncv1.ListNodesResponse
	err := r.Get(ctx, "/v1/nodes", nil, &a)
	return a.GetNodes(), err
}

// Sessions lists all sessions that filter allows, page by page.
func (r *REST) Sessions(ctx context.Context, filter string) ([]*conntrackv1.Session, error) {
	var all []*conntrackv1.Session
	q := url.Values{"page_size": {"1000"}}
	if filter != "" {
		q.Set("filter", filter)
	}
	for {
		var a conntrackv1.ListSessionsResponse
		if err := r.Get(ctx, "/v1/sessions", q, &a); err != nil {
			return nil, err
		}
		all = append(all, a.GetSessions()...)
		if a.GetNextPageToken() == "" {
			return all, nil
		}
		q.Set("page_token", a.GetNextPageToken())
	}
}
