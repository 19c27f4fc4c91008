package main

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"strings"
	"time"

	"github.com/holdfast-lb/holdfast/services/kit/pki"
)

// Bounds of answers.
const (
	maxAnswer  = 64 << 20 // bytes
	maxMessage = 16 << 20 // bytes of one message of a stream
	timeout    = 60 * time.Second
)

// client speaks the gateway's REST API.
type client struct {
	base  string
	token string
	http  *http.Client
}

// newClient makes a client. Without a token it is read from tokenFile, if that is given.
// With a certificate the server is known by its identity, with an authority alone by its host name.
func newClient(server, token, tokenFile string, files pki.Files) (*client, error) {
	u, err := url.Parse(server)
	if err != nil || (u.Scheme != "http" && u.Scheme != "https") || u.Host == "" {
		return nil, fmt.Errorf("the server %q is no http or https URL", server)
	}
	if token == "" && tokenFile != "" {
		b, err := os.ReadFile(tokenFile)
		if err != nil {
			return nil, fmt.Errorf("read the token: %w", err)
		}
		if token = firstToken(string(b)); token == "" {
			return nil, fmt.Errorf("%s holds no token", tokenFile)
		}
	}
	transport := http.DefaultTransport.(*http.Transport).Clone()
	switch {
	case files.Cert != "" || files.Key != "":
		creds, err := pki.Load(files)
		if err != nil {
			return nil, err
		}
		transport.TLSClientConfig = creds.Client(pki.RoleGateway, pki.RoleService)
	case files.CA != "":
		pem, err := os.ReadFile(files.CA)
		if err != nil {
			return nil, fmt.Errorf("read the authority: %w", err)
		}
		roots := x509.NewCertPool()
		if !roots.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("%s holds no certificate", files.CA)
		}
		transport.TLSClientConfig = &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS13}
	}
	return &client{base: strings.TrimSuffix(server, "/"), token: token, http: &http.Client{Transport: transport}}, nil
}

// firstToken is the first token of a gateway's token file, or of a file that holds nothing else.
func firstToken(text string) string {
	for line := range strings.Lines(text) {
		line, _, _ = strings.Cut(line, "#")
		switch f := strings.Fields(line); len(f) {
		case 1:
			return f[0]
		case 3:
			return f[2]
		}
	}
	return ""
}

// call makes a request and decodes the answer, with numbers as they are written.
func (c *client) call(ctx context.Context, method, path string, query url.Values, body any) (map[string]any, error) {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	resp, err := c.send(ctx, method, path, query, body, "application/json")
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	return decode(io.LimitReader(resp.Body, maxAnswer))
}

func (c *client) send(ctx context.Context, method, path string, query url.Values, body any, accept string) (*http.Response, error) {
	var r io.Reader
	if body != nil {
		b, err := json.Marshal(body)
		if err != nil {
			return nil, fmt.Errorf("encode the request: %w", err)
		}
		r = bytes.NewReader(b)
	}
	target := c.base + path
	if len(query) > 0 {
		target += "?" + query.Encode()
	}
	req, err := http.NewRequestWithContext(ctx, method, target, r)
	if err != nil {
		return nil, err
	}
	req.Header.Set("Accept", accept)
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	if c.token != "" {
		req.Header.Set("Authorization", "Bearer "+c.token)
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return nil, err
	}
	if resp.StatusCode != http.StatusOK {
		defer resp.Body.Close()
		m, err := decode(io.LimitReader(resp.Body, maxAnswer))
		if err != nil {
			return nil, fmt.Errorf("the gateway answers %s", resp.Status)
		}
		return nil, statusError(m)
	}
	return resp, nil
}

// stream calls f with each message until the stream ends.
func (c *client) stream(ctx context.Context, path string, f func(map[string]any) error) error {
	resp, err := c.send(ctx, http.MethodGet, path, nil, nil, "application/x-ndjson")
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	s := bufio.NewScanner(resp.Body)
	s.Buffer(nil, maxMessage)
	for s.Scan() {
		m, err := decode(bytes.NewReader(s.Bytes()))
		if err != nil {
			return err
		}
		if e, ok := m["error"].(map[string]any); ok {
			return statusError(e)
		}
		result, _ := m["result"].(map[string]any)
		if err := f(result); err != nil {
			return err
		}
	}
	if err := s.Err(); err != nil {
		return fmt.Errorf("read the stream: %w", err)
	}
	return errors.New("the stream ended")
}

func decode(r io.Reader) (map[string]any, error) {
	d := json.NewDecoder(r)
	d.UseNumber()
	var m map[string]any
	if err := d.Decode(&m); err != nil {
		return nil, fmt.Errorf("decode the answer: %w", err)
	}
	return m, nil
}

// statusError puts a google.rpc.Status into words: the message, its reason, and each field at fault.
func statusError(m map[string]any) error {
	text := fmt.Sprint(m["message"])
	details, _ := m["details"].([]any)
	for _, d := range details {
		d, _ := d.(map[string]any)
		if reason, ok := d["reason"].(string); ok {
			text += " (" + reason + ")"
		}
		fields, _ := d["fieldViolations"].([]any)
		for _, f := range fields {
			if f, ok := f.(map[string]any); ok {
				text += fmt.Sprintf("\n  %v %v", f["field"], f["description"])
			}
		}
	}
	return errors.New(text)
}
