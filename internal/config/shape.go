package config

import (
	"encoding"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/BurntSushi/toml"
)

// misshapen finds a key whose value is of another kind than its field, before
// the decoder does: to it a duration without a unit is one in nanoseconds, and
// its words are those of Go.
func misshapen(path, text string, c *Config) error {
	var tree map[string]any
	if _, err := toml.Decode(text, &tree); err != nil {
		return malformed(path, err)
	}
	key, what := wrongTable(tree, reflect.TypeOf(*c))
	if what == "" {
		return nil
	}
	return fmt.Errorf("bad value: %s: %s %s", where(path, text, key), key, what)
}

// wrongTable looks through a table and those in it: the first key that is
// wrong, and what is wrong with it. Keys that t does not know are not its affair.
func wrongTable(table map[string]any, t reflect.Type) (toml.Key, string) {
	for i := range t.NumField() {
		field := t.Field(i)
		if field.Anonymous { // whose keys stand in the same table
			if key, what := wrongTable(table, field.Type); what != "" {
				return key, what
			}
			continue
		}
		name, _, _ := strings.Cut(field.Tag.Get("toml"), ",")
		value, given := table[name]
		if !given || name == "" {
			continue
		}
		if key, what := wrongValue(value, field.Type); what != "" {
			return slices.Concat(toml.Key{name}, key), what
		}
	}
	return nil, ""
}

func wrongValue(value any, t reflect.Type) (toml.Key, string) {
	_, isText := value.(string)
	switch {
	case readsText(t): // and judges it
	case t == reflect.TypeFor[time.Duration]():
		if n, ok := value.(int64); ok && n != 0 {
			return nil, fmt.Sprintf(`is %d without a unit: write it as "90s", "5m" or "336h"`, n)
		}
		if _, ok := value.(int64); !ok && !isText {
			return nil, `is no duration: write it as "90s", "5m" or "336h"`
		}
	case t.Kind() == reflect.String:
		if !isText {
			return nil, "is no text: write it in quotes"
		}
	case t.Kind() == reflect.Bool:
		if _, ok := value.(bool); !ok {
			return nil, "is neither true nor false: write one of them, without quotes"
		}
	case t.Kind() == reflect.Int, t.Kind() == reflect.Int64:
		if _, ok := value.(int64); !ok {
			return nil, "is no whole number: write it in digits, without quotes"
		}
	case t.Kind() == reflect.Slice:
		return wrongList(value, t.Elem())
	case t.Kind() == reflect.Struct:
		table, ok := value.(map[string]any)
		if !ok {
			return nil, "is no section: write it in brackets, on a line of its own"
		}
		return wrongTable(table, t)
	}
	return nil, ""
}

func wrongList(value any, elem reflect.Type) (toml.Key, string) {
	if tables, ok := value.([]map[string]any); ok && elem.Kind() == reflect.Struct {
		for _, table := range tables {
			if key, what := wrongTable(table, elem); what != "" {
				return key, what
			}
		}
		return nil, ""
	}
	list, ok := value.([]any)
	switch {
	case elem.Kind() == reflect.Struct && !readsText(elem):
		return nil, "is no repeated section: write it in double brackets"
	case !ok:
		return nil, "is no list: write it in brackets, as [\"a\", \"b\"]"
	}
	for _, v := range list {
		if key, what := wrongValue(v, elem); what != "" {
			return key, "has a value that " + what
		}
	}
	return nil, ""
}

// readsText says whether t decodes itself.
func readsText(t reflect.Type) bool {
	return reflect.PointerTo(t).Implements(reflect.TypeFor[encoding.TextUnmarshaler]())
}
