package smtpd

import "sync"

// The sizes of a guard's buffer.
const (
	smallBuffer = 2 * maxCommand
	largeBuffer = 64 << 10
)

// buffers are small buffers that nobody uses at the moment, so that short connections leave
// none behind.
type buffers struct{ pool sync.Pool }

func (b *buffers) get() []byte {
	if p, ok := b.pool.Get().(*[smallBuffer]byte); ok {
		return p[:]
	}
	return make([]byte, smallBuffer)
}

// put takes back one of any size, which must not be used any more.
func (b *buffers) put(buf []byte) {
	if len(buf) == smallBuffer {
		b.pool.Put((*[smallBuffer]byte)(buf))
	}
}

// resize drops what was looked at from the buffer, and gives it the size that fits what
// comes: large for the content of large messages, small for all else, as most clients are
// idle.
func (g *guard) resize() {
	waiting, size := g.buf[g.r:g.w], smallBuffer
	if g.mode == content && g.size >= smallBuffer || len(waiting) >= smallBuffer {
		size = largeBuffer
	}
	old := g.buf
	switch {
	case size == len(old):
	case size == smallBuffer:
		g.buf = g.server.buffers.get()
	default:
		g.buf = make([]byte, size)
	}
	g.w = copy(g.buf, waiting)
	g.r = 0
	if size != len(old) {
		g.server.buffers.put(old)
	}
}
