package cli

import "github.com/plumb-dev/plumb/internal/diff"

// mask stands for a value of a Secret.
const mask = diff.Mask

// maskSecret gives an object with the values of a Secret masked.
func maskSecret(object map[string]any) map[string]any { return diff.MaskSecret(object) }
