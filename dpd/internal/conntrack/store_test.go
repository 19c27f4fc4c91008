package conntrack_test

import (
	"github.com/holdfast-lb/holdfast/dpd/internal/conntrack"
	"github.com/holdfast-lb/holdfast/dpd/internal/syncer"
)

var _ syncer.Store = (*conntrack.Table)(nil)
