package isolate

// NewOn is New on a kernel with some version of Landlock.
func NewOn(abi int, o Options) (*Fence, error) {
	o.kernel = func() int { return abi }
	return New(o)
}
