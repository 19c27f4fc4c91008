package dpdk

import "github.com/holdfast-lb/holdfast/dpd/internal/steer"

// RuleResult says who applies a rule.
type RuleResult struct {
	Rule steer.Rule
	// Reason is the device's own, when it refused; the rule is then software's work.
	Reason string
	// Hardware: the device took the rule.
	Hardware bool
}
