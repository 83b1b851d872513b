package adopt

func (s *session) module(d Drift, f Field) { s.refuse(d, f, "not yet") }
