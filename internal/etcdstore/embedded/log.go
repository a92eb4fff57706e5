package embedded

import (
	"context"
	"log/slog"

	"go.uber.org/zap/zapcore"
)

// core hands etcd's errors to slog. What etcd says below that is about its own inner life.
type core struct {
	to     slog.Handler
	fields []zapcore.Field
}

// Enabled takes errors and worse.
func (c *core) Enabled(level zapcore.Level) bool { return level >= zapcore.ErrorLevel }

// With adds fields to every line.
func (c *core) With(fields []zapcore.Field) zapcore.Core {
	return &core{to: c.to, fields: append(append([]zapcore.Field(nil), c.fields...), fields...)}
}

// Check adds the core to a line that it takes.
func (c *core) Check(entry zapcore.Entry, checked *zapcore.CheckedEntry) *zapcore.CheckedEntry {
	if c.Enabled(entry.Level) {
		return checked.AddCore(entry, c)
	}
	return checked
}

// Write writes a line.
func (c *core) Write(entry zapcore.Entry, fields []zapcore.Field) error {
	ctx := context.Background()
	level := slog.LevelError
	if entry.Level < zapcore.DPanicLevel {
		// What etcd calls an error it goes on after: a new member logs one before its first snapshot. What ends it is worse.
		level = slog.LevelWarn
	}
	if !c.to.Enabled(ctx, level) {
		return nil
	}
	encoder := zapcore.NewMapObjectEncoder()
	for _, field := range append(append([]zapcore.Field(nil), c.fields...), fields...) {
		field.AddTo(encoder)
	}
	record := slog.NewRecord(entry.Time, level, "etcd", 0)
	record.AddAttrs(slog.String("message", entry.Message), slog.Any("fields", encoder.Fields))
	return c.to.Handle(ctx, record)
}

// Sync has nothing to do.
func (*core) Sync() error { return nil }
