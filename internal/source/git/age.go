package git

import (
	"io/fs"
	"sort"
	"strings"
	"time"
)

// sortedBy gives the commit references of a directory, youngest first.
func sortedBy(files []fs.DirEntry, when func(fs.DirEntry) time.Time) []fs.DirEntry {
	var out []fs.DirEntry
	times := map[string]time.Time{}
	for _, f := range files {
		if strings.HasSuffix(f.Name(), ".lock") {
			continue
		}
		out = append(out, f)
		times[f.Name()] = when(f)
	}
	sort.SliceStable(out, func(i, j int) bool { return times[out[i].Name()].After(times[out[j].Name()]) })
	return out
}
