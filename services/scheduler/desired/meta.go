package desired

import (
	"strconv"

	"github.com/holdfast-lb/holdfast/services/kit/apierr"
)

func (at At) created(requestID string) Meta {
	return Meta{UID: uint32(at.Seq), Version: at.Seq, Created: at.Now, Updated: at.Now, RequestID: requestID}
}

func (m Meta) changed(at At) Meta {
	m.Version, m.Updated = at.Seq, at.Now
	return m
}

// ETag names the version for callers.
func (m Meta) ETag() string { return "v" + strconv.FormatUint(m.Version, 36) }

func (m Meta) match(etag string) error {
	if etag != "" && etag != m.ETag() {
		return apierr.New(apierr.ETagMismatch, "the etag is %s now, not %s", m.ETag(), etag)
	}
	return nil
}
