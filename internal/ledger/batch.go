package ledger

// request is entries to append, all or none of them.
type request struct {
	raw    [][]byte
	answer chan answer // never blocks
}

// answer is the index of the first.
type answer struct {
	index uint64
	err   error
}

// batch keeps entries in the journal, all at once that came while the disk was
// busy with those before, until there will be no further ones.
func (l *Ledger) batch() {
	defer close(l.batched)
	for first := range l.requests {
		requests, count := []request{first}, len(first.raw)
	collect:
		for count < batchSize {
			select {
			case r, more := <-l.requests:
				if !more {
					break collect
				}
				requests, count = append(requests, r), count+len(r.raw)
			default:
				break collect
			}
		}
		l.keep(requests)
	}
}

func (l *Ledger) keep(requests []request) {
	var raw [][]byte
	for _, r := range requests {
		raw = append(raw, r.raw...)
	}
	index, err := l.journal.add(raw)
	l.faults.set(faultAppend, err) // the health first: who is told can ask for it
	if err != nil {
		l.signer.wake() // the follower tries when it works again
	} else {
		wake(l.news)
	}
	for _, r := range requests {
		r.answer <- answer{index, err}
		index += uint64(len(r.raw))
		l.pending.Done()
	}
}

// wake leaves a token for who waits, if there is none.
func wake(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}
