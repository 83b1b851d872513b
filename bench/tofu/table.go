package main

import (
	"fmt"
	"io"
	"runtime"
	"time"
)

// row is what one tool took for one thing.
type row struct {
	what, tool string
	cost       cost
	beside     cost    // of the probe
	cpu, wall  float64 // how many times more than the probe it must take; 0 if it does not matter
}

type table struct {
	rows   []row
	ratios []ratio
	notes  []string
	missed bool
}

func (t *table) add(r row) { t.rows = append(t.rows, r) }

// processes notes what runs after all checks.
func (t *table) processes(what string, m *probed) {
	var least, most, total int64
	for i, p := range m.processes {
		if i == 0 || p.RSS < least {
			least = p.RSS
		}
		most, total = max(most, p.RSS), total+p.RSS
	}
	t.notes = append(t.notes, fmt.Sprintf("%s: %d provider processes after all checks, %d to %d MB each (%d MB together); the program that holds the states has %d MB",
		what, len(m.processes), least>>20, most>>20, total>>20, m.rss>>20))
}

func (t *table) print(w io.Writer, r *rig) {
	fmt.Fprintf(w, "\nOne full look for drift, where there is none. %d CPUs, %d at once.\n\n", runtime.NumCPU(), r.o.parallel)
	fmt.Fprintln(w, "| what | tool | CPU | wall | CPU, times the probe's | wall, times the probe's | target |")
	fmt.Fprintln(w, "| --- | --- | ---: | ---: | ---: | ---: | --- |")
	for _, row := range t.rows {
		fmt.Fprintf(w, "| %s | %s | %s | %s | %s | %s | %s |\n", row.what, row.tool, short(row.cost.cpu), short(row.cost.wall),
			times(row.cost.cpu, row.beside.cpu), times(row.cost.wall, row.beside.wall), t.target(row))
	}
	fmt.Fprintln(w)
	t.printRatios(w)
	for _, note := range t.notes {
		fmt.Fprintln(w, "- "+note)
	}
	if r.terraform == "" {
		fmt.Fprintln(w, "- There is no terraform on the PATH: it is not measured.")
	} else {
		fmt.Fprintf(w, "- Terraform is %s.\n", r.version)
	}
}

// ratio is what a sync takes beside a bare apply.
type ratio struct {
	what        string
	loop, apply time.Duration
	most        float64 // 0 if it does not matter
}

func (t *table) ratio(what string, loop, apply time.Duration, most float64) {
	t.ratios = append(t.ratios, ratio{what, loop, apply, most})
}

func (t *table) printRatios(w io.Writer) {
	if len(t.ratios) == 0 {
		return
	}
	fmt.Fprintln(w, "| sync | Plumb | tofu apply | Plumb / tofu apply | target |")
	fmt.Fprintln(w, "| --- | ---: | ---: | ---: | --- |")
	for _, r := range t.ratios {
		share, target := float64(r.loop)/float64(r.apply), ""
		if r.most > 0 {
			target = fmt.Sprintf("≤ %.2f ✓", r.most)
			if share > r.most {
				target, t.missed = fmt.Sprintf("≤ %.2f **missed**", r.most), true
			}
		}
		fmt.Fprintf(w, "| %s | %s | %s | %.2f | %s |\n", r.what, short(r.loop), short(r.apply), share, target)
	}
	fmt.Fprintln(w)
}

// target tells whether a row is as it should be.
func (t *table) target(r row) string {
	if r.cpu == 0 && r.wall == 0 {
		return ""
	}
	text, good := "", true
	if r.cpu > 0 {
		text += fmt.Sprintf("CPU ≥ %.0f × ", r.cpu)
		good = float64(r.cost.cpu) >= r.cpu*float64(r.beside.cpu)
	}
	if r.wall > 0 {
		text += fmt.Sprintf("wall ≥ %.0f × ", r.wall)
		good = good && float64(r.cost.wall) >= r.wall*float64(r.beside.wall)
	}
	if good {
		return text + "✓"
	}
	t.missed = true
	return text + "**missed**"
}

func times(a, b time.Duration) string {
	if b == 0 {
		return ""
	}
	return fmt.Sprintf("%.1f", float64(a)/float64(b))
}

func short(d time.Duration) string {
	if d < time.Second {
		return fmt.Sprintf("%.0f ms", float64(d)/float64(time.Millisecond))
	}
	return fmt.Sprintf("%.2f s", d.Seconds())
}
