package mesh

import "strings"

// firstAdmin is the token of the first line of a token file whose role is admin; empty when there is none.
func firstAdmin(lines string) string {
	for line := range strings.Lines(lines) {
		line, _, _ = strings.Cut(line, "#")
		if f := strings.Fields(line); len(f) == 3 && f[0] == "admin" {
			return f[2]
		}
	}
	return ""
}
