//go:build wasip1

package toril

import (
	"context"
	"log"
	"log/slog"
	"os"
	"strings"

	"toril/internal/host"
)

// LevelTrace is below slog's levels.
const LevelTrace = slog.Level(-8)

// The packages `log` and `log/slog` write to the host's log. A job's own log, which dashboards show, is [Job.Log].
func init() {
	var lines writer
	// The host adds time and level.
	text := slog.NewTextHandler(&lines, &slog.HandlerOptions{Level: LevelTrace, ReplaceAttr: withoutOwn})
	slog.SetDefault(slog.New(&logHandler{text, &lines}))
	// The last line on stderr is why a program ends: that of `log.Fatal`, too.
	log.SetOutput(os.Stderr)
}

func withoutOwn(groups []string, attr slog.Attr) slog.Attr {
	if len(groups) == 0 && (attr.Key == slog.TimeKey || attr.Key == slog.LevelKey || attr.Key == slog.MessageKey) {
		return slog.Attr{}
	}
	return attr
}

// writer keeps the line that the text handler made.
type writer struct{ line string }

func (w *writer) Write(line []byte) (int, error) {
	w.line = strings.TrimSpace(string(line))
	return len(line), nil
}

type logHandler struct {
	slog.Handler
	lines *writer
}

func (h *logHandler) Handle(ctx context.Context, record slog.Record) error {
	if err := h.Handler.Handle(ctx, record); err != nil {
		return err
	}
	line := record.Message
	if h.lines.line != "" {
		line += " " + h.lines.line
	}
	host.Log(level(record.Level), host.Valid(line))
	return nil
}

func (h *logHandler) WithAttrs(attrs []slog.Attr) slog.Handler {
	return &logHandler{h.Handler.WithAttrs(attrs), h.lines}
}

func (h *logHandler) WithGroup(name string) slog.Handler {
	return &logHandler{h.Handler.WithGroup(name), h.lines}
}

// level is a case of `level` in `wit/logging.wit`.
func level(level slog.Level) uint32 {
	switch {
	case level < slog.LevelDebug:
		return 0
	case level < slog.LevelInfo:
		return 1
	case level < slog.LevelWarn:
		return 2
	case level < slog.LevelError:
		return 3
	}
	return 4
}
