// Package canary looks for secrets in what a program has said. It is for tests, which plant a secret or read one from where it is kept,
// and then search logs, spans, metrics, errors and output for it. Said collects what is said.
package canary

import (
	"encoding/base32"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"maps"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/halfkey/halfkey/frost"
)

// wholeMax is the longest secret that is looked for in one piece. Of a longer one each half is, so that what was cut short is found too;
// half of it is still too long to be anything else by chance.
const wholeMax = 15

// Secrets are what must not be found, by what it is.
type Secrets map[string][]byte

// Add adds a secret. It panics on one that is so short that it is found by chance.
func (s Secrets) Add(what string, secret []byte) {
	if len(secret) < 8 {
		panic("canary: " + what + " is too short to look for")
	}
	s[what] = slices.Clone(secret)
}

// AddHome adds every secret that the files of a client's home hold.
func (s Secrets) AddHome(what, dir string) error {
	files, err := filepath.Glob(filepath.Join(dir, "keys", "*"))
	if err != nil {
		return err
	}
	before := len(s)
	for _, file := range files {
		b, err := os.ReadFile(file)
		if err != nil {
			return err
		}
		var fields map[string]any
		if err := json.Unmarshal(b, &fields); err != nil {
			return err
		}
		for name, value := range fields {
			text, ok := value.(string)
			if !ok || !strings.Contains(name, "seed") && name != "share" {
				continue
			}
			secret, err := base64.StdEncoding.DecodeString(text)
			if err != nil {
				return err
			}
			if name == "share" {
				share, err := frost.ParseKeyShare(secret)
				if err != nil {
					return err
				}
				secret = share.Scalar() // The rest of it is public.
			}
			s.Add(fmt.Sprintf("%s: %s of %s", what, name, filepath.Base(file)), secret)
		}
	}
	if len(s) == before {
		return fmt.Errorf("canary: no secret in %d files of %s", len(files), dir)
	}
	return nil
}

// In says which secrets a text holds, and in which form.
func (s Secrets) In(text string) []string {
	var found []string
	for _, what := range slices.Sorted(maps.Keys(s)) {
		for _, part := range parts(s[what]) {
			for form, needle := range Forms(part) {
				if strings.Contains(text, needle) {
					found = append(found, what+", "+form)
				}
			}
		}
	}
	return found
}

// Needles are the texts of which each says that a secret slipped out.
func Needles(secret []byte) []string {
	var needles []string
	for _, part := range parts(secret) {
		needles = slices.AppendSeq(needles, maps.Values(Forms(part)))
	}
	return needles
}

func parts(secret []byte) [][]byte {
	if len(secret) <= wholeMax {
		return [][]byte{secret}
	}
	half := len(secret) / 2
	return [][]byte{secret[:half], secret[half:]}
}

// Forms are the forms in which a secret could slip out: raw and escaped, in hexadecimal, in base64 of either alphabet wherever in a longer
// value it stands, in base32, and as Go and JSON print bytes.
func Forms(secret []byte) map[string]string {
	text := string(secret)
	forms := map[string]string{
		"raw":               text,
		"quoted":            strings.Trim(strconv.Quote(text), `"`),
		"in a URL":          url.QueryEscape(text),
		"hexadecimal":       hex.EncodeToString(secret),
		"HEXADECIMAL":       strings.ToUpper(hex.EncodeToString(secret)),
		"base32":            base32.StdEncoding.EncodeToString(secret)[:len(secret)*8/5],
		"decimal":           strings.Trim(fmt.Sprintf("%d", secret), "[]"),
		"decimal by commas": strings.ReplaceAll(strings.Trim(fmt.Sprintf("%d", secret), "[]"), " ", ","),
		"Go's syntax":       strings.TrimSuffix(strings.TrimPrefix(fmt.Sprintf("%#v", secret), "[]byte{"), "}"),
	}
	if b, err := json.Marshal(text); err == nil {
		forms["JSON"] = strings.Trim(string(b), `"`)
	}
	for shift := range 3 {
		shifted := append(make([]byte, shift), secret...)
		// Only characters all of whose bits are the secret's.
		from, to := (shift*8+5)/6, len(shifted)*8/6
		forms[fmt.Sprintf("base64 at %d", shift)] = base64.StdEncoding.EncodeToString(shifted)[from:to]
		forms[fmt.Sprintf("base64url at %d", shift)] = base64.URLEncoding.EncodeToString(shifted)[from:to]
	}
	return forms
}
