package harness

import (
	"math"
	"slices"
	"time"
)

// Quantile returns the smallest of the durations that the share q of them do
// not exceed; 0 without any.
func Quantile(durations []time.Duration, q float64) time.Duration {
	if len(durations) == 0 {
		return 0
	}
	sorted := slices.Clone(durations)
	slices.Sort(sorted)
	at := int(math.Ceil(q*float64(len(sorted)))) - 1
	return sorted[min(max(at, 0), len(sorted)-1)]
}

// Median is the quantile one half.
func Median(durations []time.Duration) time.Duration { return Quantile(durations, 0.5) }
