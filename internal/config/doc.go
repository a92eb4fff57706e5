// Package config reads the configuration files of the five programs: YAML, strictly. A key that is not known, a value of
// another kind and a second document are errors that name the line. A secret never stands in such a file: it stands in a
// file of its own, of mode 0600, whose path the configuration gives. Nothing comes from the environment or from flags, so
// that one file says all there is to say about a program.
package config
