package cluster

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

func restServer(t *testing.T, handle http.HandlerFunc) *REST {
	t.Helper()
	s := httptest.NewServer(handle)
	t.Cleanup(s.Close)
	return &REST{Base: s.URL, Token: "secret"}
}

func TestSessionsReadsEveryPage(t *testing.T) {
	r := restServer(t, func(w http.ResponseWriter, q *http.Request) {
		if q.Header.Get("Authorization") != "Bearer secret" || q.URL.Query().Get("filter") != "owner = \"nodes/lb1\"" {
			http.Error(w, "no", http.StatusForbidden)
			return
		}
		switch q.URL.Query().Get("page_token") {
		case "":
			fmt.Fprint(w, `{"sessions":[{"name":"a"},{"name":"b"}],"nextPageToken":"2","news":"fields that we don't know yet"}`)
		case "2":
			fmt.Fprint(w, `{"sessions":[{"name":"c","owner":"nodes/lb1"}]}`)
		}
	})
	list, err := r.Sessions(context.Background(), `owner = "nodes/lb1"`)
	if err != nil || len(list) != 3 || list[2].GetOwner() != "nodes/lb1" {
		t.Errorf("%v %v", list, err)
	}
}

func TestRESTSaysWhatFails(t *testing.T) {
	for name, row := range map[string]struct {
		handle http.HandlerFunc
		want   string
	}{
		"a status": {func(w http.ResponseWriter, _ *http.Request) {
			http.Error(w, `{"message":"why"}`, http.StatusServiceUnavailable)
		}, "503 Service Unavailable: {\"message\":\"why\"}"},
		"no JSON": {func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "<html>") }, "syntax error"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := restServer(t, row.handle).Nodes(context.Background())
			if err == nil || !strings.Contains(err.Error(), row.want) {
				t.Errorf("got %v, want %q in it", err, row.want)
			}
		})
	}
}

func TestOptions(t *testing.T) {
	if err := Default().Validate(); err != nil {
		t.Error(err)
	}
	bad := Options{Nodes: 9, Workers: 0, Port: "tun", SyncLoss: -1, Sync: true, Static: true}
	err := bad.Validate()
	if err == nil || strings.Count(err.Error(), "\n") != 4 {
		t.Errorf("not every bad option is named: %v", err)
	}
	dir := t.TempDir()
	o := Options{Nodes: 2, Workers: 3, Port: "af_xdp", SyncLoss: 2.5, Sync: true}
	if err := o.save(dir); err != nil {
		t.Fatal(err)
	}
	if got, err := loadOptions(dir); err != nil || got != o {
		t.Errorf("%+v %v", got, err)
	}
	if _, err := loadOptions(t.TempDir()); !errors.Is(err, ErrNoLab) {
		t.Errorf("no state file: %v", err)
	}
}
