package rest

import (
	"github.com/grpc-ecosystem/grpc-gateway/v2/runtime"
	"google.golang.org/protobuf/encoding/protojson"
)

// Media types of streams, besides JSON.
const (
	mimeNDJSON = "application/x-ndjson"
	mimeEvents = "text/event-stream"
)

// jsonCodec writes scalar defaults, so that a reader sees every field, and refuses unknown fields, so that a typo is not
// taken for an absent field.
func jsonCodec() *runtime.JSONPb {
	return &runtime.JSONPb{
		MarshalOptions:   protojson.MarshalOptions{EmitDefaultValues: true},
		UnmarshalOptions: protojson.UnmarshalOptions{DiscardUnknown: false},
	}
}

// ndjson is JSON, one message a line.
type ndjson struct{ *runtime.JSONPb }

func ndjsonCodec() runtime.Marshaler { return ndjson{jsonCodec()} }

// ContentType is the answer's media type.
func (ndjson) ContentType(any) string { return mimeNDJSON }

// events is JSON in server-sent events: "data: {…}" and an empty line. JSON has no line breaks here, which the format would
// forbid.
type events struct{ *runtime.JSONPb }

func eventCodec() runtime.Marshaler { return events{jsonCodec()} }

// ContentType is the answer's media type.
func (events) ContentType(any) string { return mimeEvents }

// Marshal writes one event without its end.
func (e events) Marshal(v any) ([]byte, error) {
	b, err := e.JSONPb.Marshal(v)
	if err != nil {
		return nil, err
	}
	return append([]byte("data: "), b...), nil
}

// Delimiter ends an event.
func (events) Delimiter() []byte { return []byte("\n\n") }
