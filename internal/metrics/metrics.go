// Package metrics counts what the server does and shows it in Prometheus' text
// exposition format, version 0.0.4.
//
// It is our own because the format is a page long, while the official client
// library brings a dozen modules, protobuf among them, and a global registry.
//
// Invariants: a Registry is a value that its owner hands around; there is no
// global one. The series of a metric are fixed when it is made, so no input
// from the network can make the page grow. Counting is one atomic operation and
// takes no lock. A nil *Registry makes metrics that count and are never shown,
// so that a package needs no second code path in tests.
package metrics

import (
	"fmt"
	"io"
	"math"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
)

// ContentType is the HTTP content type of what WriteTo writes.
const ContentType = "text/plain; version=0.0.4; charset=utf-8"

// Other is the label value that stands for all values that were not announced.
const Other = "other"

// Label is one name="value" of a series. Names are constants of the code;
// values may be any UTF-8 text.
type Label struct{ Name, Value string }

// Counter is a number that only grows.
type Counter struct{ n atomic.Uint64 }

// Inc adds one.
func (c *Counter) Inc() { c.n.Add(1) }

// Add adds n.
func (c *Counter) Add(n uint64) { c.n.Add(n) }

// Value is the count so far.
func (c *Counter) Value() uint64 { return c.n.Load() }

func (c *Counter) sample(out []byte, name, labels string) []byte {
	return appendSample(out, name, labels, strconv.FormatUint(c.Value(), 10))
}

// Counters are the counters of one metric, one for each announced value of a
// label.
type Counters struct{ byValue map[string]*Counter }

// With is the counter of a value; values that were not announced share Other.
func (c *Counters) With(value string) *Counter {
	if counter, ok := c.byValue[value]; ok {
		return counter
	}
	return c.byValue[Other]
}

// Gauge is a number that goes up and down.
type Gauge struct{ n atomic.Int64 }

// Add adds n, which may be negative.
func (g *Gauge) Add(n int64) { g.n.Add(n) }

// Set replaces the number.
func (g *Gauge) Set(n int64) { g.n.Store(n) }

// Value is the number now.
func (g *Gauge) Value() int64 { return g.n.Load() }

func (g *Gauge) sample(out []byte, name, labels string) []byte {
	return appendSample(out, name, labels, strconv.FormatInt(g.Value(), 10))
}

type gaugeFunc func() float64

func (f gaugeFunc) sample(out []byte, name, labels string) []byte {
	return appendSample(out, name, labels, formatFloat(f()))
}

// Histogram counts observations by size.
type Histogram struct {
	bounds []float64       // upper bounds, inclusive, ascending
	counts []atomic.Uint64 // one a bound, and one for what is above all of them
	sum    atomic.Uint64   // bits of a float64
}

// LatencySeconds are bounds for durations in seconds, from 1 ms to 60 s.
func LatencySeconds() []float64 {
	return []float64{0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60}
}

// Observe counts one observation.
func (h *Histogram) Observe(v float64) {
	at, _ := slices.BinarySearch(h.bounds, v)
	h.counts[at].Add(1)
	for {
		old := h.sum.Load()
		if h.sum.CompareAndSwap(old, math.Float64bits(math.Float64frombits(old)+v)) {
			return
		}
	}
}

func (h *Histogram) sample(out []byte, name, labels string) []byte {
	var total uint64
	for i := range h.counts {
		total += h.counts[i].Load()
		bound := "+Inf"
		if i < len(h.bounds) {
			bound = formatFloat(h.bounds[i])
		}
		with := joinLabels(labels, labelText(Label{"le", bound}))
		out = appendSample(out, name+"_bucket", with, strconv.FormatUint(total, 10))
	}
	out = appendSample(out, name+"_sum", labels, formatFloat(math.Float64frombits(h.sum.Load())))
	return appendSample(out, name+"_count", labels, strconv.FormatUint(total, 10))
}

// metric is what a series can be: Counter, Gauge, gaugeFunc or Histogram.
type metric interface {
	sample(out []byte, name, labels string) []byte
}

type family struct {
	name, help, kind string
	series           map[string]metric // by label text
}

// Registry is a set of metrics to show together. Its zero value is empty and
// ready. Its methods may be called from any goroutine.
type Registry struct {
	mu       sync.Mutex
	families map[string]*family
}

// Counter makes the counter with this name and these labels, or returns the one
// that is there already, so that two listeners of one kind share it. As
// everywhere in this package, one name used for two kinds of metric is a
// mistake in the code, and panics.
func (r *Registry) Counter(name, help string, labels ...Label) *Counter {
	return register(r, name, help, "counter", labels, &Counter{})
}

// Counters makes a counter for each value of a label, and one for Other. The
// fixed labels are on all of them.
func (r *Registry) Counters(name, help, label string, values []string, fixed ...Label) *Counters {
	c := &Counters{byValue: make(map[string]*Counter, len(values)+1)}
	for _, value := range append([]string{Other}, values...) {
		c.byValue[value] = r.Counter(name, help, append(slices.Clone(fixed), Label{label, value})...)
	}
	return c
}

// Gauge makes the gauge with this name and these labels, or returns it.
func (r *Registry) Gauge(name, help string, labels ...Label) *Gauge {
	return register(r, name, help, "gauge", labels, &Gauge{})
}

// GaugeFunc shows what value returns each time the page is written. value must
// not use the Registry. The first function for a name and labels stays.
func (r *Registry) GaugeFunc(name, help string, value func() float64, labels ...Label) {
	register(r, name, help, "gauge", labels, gaugeFunc(value))
}

// Histogram makes the histogram with this name and these labels, or returns it.
// bounds ascend and are inclusive; a bucket above all of them is added.
func (r *Registry) Histogram(name, help string, bounds []float64, labels ...Label) *Histogram {
	h := &Histogram{bounds: slices.Clone(bounds), counts: make([]atomic.Uint64, len(bounds)+1)}
	return register(r, name, help, "histogram", labels, h)
}

func register[M metric](r *Registry, name, help, kind string, labels []Label, made M) M {
	if r == nil {
		return made
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	f := r.families[name]
	if f == nil {
		f = &family{name: name, help: help, kind: kind, series: make(map[string]metric)}
		if r.families == nil {
			r.families = make(map[string]*family)
		}
		r.families[name] = f
	}
	key := labelText(labels...)
	if there, ok := f.series[key]; ok {
		if made, ok = there.(M); ok {
			return made
		}
	}
	if f.kind != kind || f.series[key] != nil {
		panic(fmt.Sprintf("metrics: %s is a %s already and cannot be a %s too", name, f.kind, kind))
	}
	f.series[key] = made
	return made
}

// WriteTo writes all metrics, sorted by name and labels.
func (r *Registry) WriteTo(w io.Writer) (int64, error) {
	n, err := w.Write(r.page())
	return int64(n), err
}

func (r *Registry) page() []byte {
	if r == nil {
		return nil
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	var out []byte
	for _, name := range sortedKeys(r.families) {
		f := r.families[name]
		out = append(out, "# HELP "+name+" "+escapeHelp(f.help)+"\n# TYPE "+name+" "+f.kind+"\n"...)
		for _, labels := range sortedKeys(f.series) {
			out = f.series[labels].sample(out, name, labels)
		}
	}
	return out
}

func sortedKeys[V any](m map[string]V) []string {
	keys := make([]string, 0, len(m))
	for key := range m {
		keys = append(keys, key)
	}
	slices.Sort(keys)
	return keys
}

func appendSample(out []byte, name, labels, value string) []byte {
	out = append(out, name...)
	if labels != "" {
		out = append(out, "{"+labels+"}"...)
	}
	return append(out, " "+value+"\n"...)
}

func labelText(labels ...Label) string {
	text := ""
	for _, l := range labels {
		text = joinLabels(text, l.Name+`="`+escapeValue(l.Value)+`"`)
	}
	return text
}

func joinLabels(a, b string) string {
	if a == "" {
		return b
	}
	return a + "," + b
}

func escapeHelp(s string) string {
	return strings.NewReplacer(`\`, `\\`, "\n", `\n`).Replace(s)
}

func escapeValue(s string) string {
	return strings.NewReplacer(`\`, `\\`, "\n", `\n`, `"`, `\"`).Replace(s)
}

func formatFloat(v float64) string {
	if math.IsInf(v, 1) {
		return "+Inf"
	}
	return strconv.FormatFloat(v, 'g', -1, 64)
}
