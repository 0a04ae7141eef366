package wire

import (
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	goimap "github.com/emersion/go-imap/v2"
)

func mustSet(t testing.TB, text string) *Set {
	t.Helper()
	s, err := ParseSet(text, 200000)
	if err != nil {
		t.Fatalf("%.99q: %v", text, err)
	}
	return s
}

func TestResolve(t *testing.T) {
	for _, c := range []struct {
		text    string
		highest uint32
		want    string
	}{
		{"*", 7, "7"}, {"*", 0, ""}, {"5:*", 7, "5:7"}, {"9:*", 7, "7"}, {"*:9", 7, "7"},
		{"1:3,5:*", 4, "1:4"}, {"1,*", 1, "1"}, {"2:*,9:*", 4, "2:4"}, {"4294967295", 3, "4294967295"},
		{"1:*", math.MaxUint32, "1:4294967295"}, {"9:*", 0, ""},
	} {
		s := mustSet(t, c.text)
		s.Resolve(c.highest)
		if got := string(AppendSet(nil, s)); got != c.want || s.Dynamic() {
			t.Errorf("%s of %d: got %q, want %q", c.text, c.highest, got, c.want)
		}
	}
}

func TestBeyond(t *testing.T) {
	for _, c := range []struct {
		text    string
		highest uint32
		want    bool
	}{
		{"*", 0, true}, {"*", 1, false}, {"1:*", 0, true}, {"1:*", 1, false}, {"3:*", 2, true}, {"*:3", 3, false},
		{"1", 0, true}, {"2:3", 3, false}, {"1,4", 3, true}, {"*,4", 3, true}, {"*,3:*", 2, true}, {"$", 0, false},
	} {
		if got := mustSet(t, c.text).Beyond(c.highest); got != c.want {
			t.Errorf("%s in %d messages: %v", c.text, c.highest, got)
		}
	}
}

func TestSetOperations(t *testing.T) {
	s := mustSet(t, "10:20,30,4294967295")
	if s.Count() != 13 || s.Max() != math.MaxUint32 || !s.Contains(10) || !s.Contains(20) || s.Contains(9) || s.Contains(21) || !s.Contains(math.MaxUint32) {
		t.Error("Count, Max or Contains")
	}
	s.Add(21)
	if !s.Contains(21) || new(Set).Max() != 0 {
		t.Error("Add or Max")
	}
	var both Set
	both.Intersect(s, mustSet(t, "1:12,15:30,40:4294967295"))
	if got := string(AppendSet(nil, &both)); got != "10:12,15:21,30,4294967295" {
		t.Error(got)
	}
	ids := []uint32{1, 10, 11, 19, 25, 30, 31}
	var got []int
	for lo, hi := range Spans(s, ids) {
		got = append(got, lo, hi)
	}
	if !slices.Equal(got, []int{1, 4, 5, 6}) {
		t.Error(got)
	}
	if !new(Set).Empty() || s.Empty() || mustSet(t, "*").Empty() || mustSet(t, "$").Empty() || !mustSet(t, "$").Saved() {
		t.Error("Empty or Saved")
	}
}

// AddRange in any order means the same as a bitmap.
func TestAddRangeAgainstABitmap(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 2))
	for range 2000 {
		var s Set
		var want [64]bool
		for range rnd.IntN(12) {
			first := 1 + rnd.Uint32N(60)
			last := min(first+rnd.Uint32N(6), 63)
			s.AddRange(first, last)
			for n := first; n <= last; n++ {
				want[n] = true
			}
		}
		checkShape(t, &s)
		for n := 1; n < 64; n++ {
			if s.Contains(uint32(n)) != want[n] {
				t.Fatalf("%s: %d", AppendSet(nil, &s), n)
			}
		}
	}
}

// checkShape fails unless ranges ascend and neither touch nor overlap.
func checkShape(t testing.TB, s *Set) {
	t.Helper()
	for i, x := range s.Ranges() {
		if x.First == 0 || x.First > x.Last || i > 0 && uint64(s.Ranges()[i-1].Last)+1 >= uint64(x.First) {
			t.Fatalf("ranges not normal: %v", s.Ranges())
		}
	}
}

func TestHugeSetsCostLittle(t *testing.T) {
	var text strings.Builder
	for n := 200000; n > 0; n -= 2 { // the worst order
		text.Write(AppendNumber(nil, uint64(n)))
		text.WriteByte(',')
	}
	text.WriteString("1:4294967295,1:*")
	s := mustSet(t, strings.TrimSuffix(text.String(), ",1:*"))
	if len(s.Ranges()) != 1 || s.Count() != math.MaxUint32 {
		t.Error(len(s.Ranges()))
	}
	if _, err := ParseSet(text.String(), 1000); err != errSetTooBig {
		t.Error(err)
	}
}

func TestAppendNumbers(t *testing.T) {
	for want, ids := range map[string][]uint32{
		"": nil, "1": {1}, "1:2": {1, 2}, "1,3:5,9": {1, 3, 4, 5, 9}, "4294967294:4294967295": {4294967294, 4294967295},
	} {
		if got := string(AppendNumbers(nil, ids)); got != want {
			t.Errorf("%v: got %q, want %q", ids, got, want)
		}
	}
}

func TestGoImapConversions(t *testing.T) {
	for _, text := range []string{"1:3,7", "5:*", "1,*", "*", "$"} {
		s := mustSet(t, text)
		if got := s.UIDSet().String(); got != text {
			t.Errorf("UIDSet of %s: %s", text, got)
		}
		if got := string(AppendSet(nil, SetOf(s.UIDSet()))); got != text {
			t.Errorf("SetOf %s: %s", text, got)
		}
		if text == "$" {
			continue
		}
		if got := s.SeqSet().String(); got != text {
			t.Errorf("SeqSet of %s: %s", text, got)
		}
		if got := string(AppendSet(nil, SetOf(s.SeqSet()))); got != text {
			t.Errorf("SetOf %s: %s", text, got)
		}
	}
	if got := string(AppendSet(nil, SetOf(goimap.UIDSetNum(9, 1, 2)))); got != "1:2,9" {
		t.Error(got)
	}
}

func FuzzSet(f *testing.F) {
	for _, s := range []string{"1", "1:*", "*", "$", "3:1,2,9:7,*:5", "1:4294967295", "4294967295:*", "0", "1,,2", "1:2:3", "5,4,3,2,1"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		s, err := ParseSet(text, 1000)
		if err != nil {
			return
		}
		checkShape(t, s)
		again := string(AppendSet(nil, s))
		if got := string(AppendSet(nil, mustSet(t, again))); got != again {
			t.Fatalf("%q -> %q -> %q", text, again, got)
		}
		if s.Saved() || s.Dynamic() {
			return
		}
		for _, element := range strings.Split(text, ",") {
			if one := mustSet(t, element); !s.Contains(one.Ranges()[0].First) || !s.Contains(one.Max()) {
				t.Fatalf("%q lacks %q", text, element)
			}
		}
	})
}
