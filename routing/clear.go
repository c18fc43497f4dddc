package routing

import (
	"bytes"
	"slices"

	"postern/internal/message"
)

// clear makes a copy that leaves in clear: as it came, or signed, with the gateway's
// fields in front. Outer is the shared header of sealed copies, and own are the fields of
// this copy alone.
func (r *Runner) clear(job *Job, outer message.Header, own []byte, level Security) (composed, Outcome) {
	m, id := job.Message, string(job.Message.ID)
	if m.Notice && level != Signed {
		// What the gateway writes is split at its entity, and goes together again.
		mail, err := r.Sealer.Open(slices.Concat(outer.Bytes(), own, []byte("MIME-Version: 1.0\r\n")), id, m.Data, m.Key)
		if err != nil {
			return composed{}, r.internal(job, "open content", err)
		}
		return inClear(mail), Outcome{}
	}
	var entity []byte
	var err error
	if m.Notice {
		if entity, err = r.Sealer.Open(nil, id, m.Data, m.Key); err != nil {
			return composed{}, r.internal(job, "open content", err)
		}
	} else {
		original, body, stamp, err := r.original(m)
		if err != nil {
			return composed{}, r.internal(job, "open content", err)
		}
		if job.Message.Acked {
			original.Del("Reply-To") // the copy has its own
		}
		outer = message.ClearHeader(outer, original, level == Signed)
		if level != Signed {
			return inClear(asItCame(outer, own, body)), Outcome{}
		}
		if entity, err = r.protectClear(original, body, stamp); err != nil {
			return composed{}, r.internal(job, "protect content", err)
		}
	}
	mail, err := signerOf(r.Signers, m.Account, r.Sealer).Sign(slices.Concat(outer.Bytes(), own), entity, r.Now())
	if err != nil {
		return composed{}, r.internal(job, "sign content", err)
	}
	return inClear(mail), Outcome{}
}

// original is what was submitted, and where its stamp is: as they were when this process
// encrypted them, if that was just now.
func (r *Runner) original(m *Message) (h message.Header, body []byte, stamp func() (*message.Stamp, error), err error) {
	if p := m.Content; p != nil {
		h, body = p.Unprotect()
		return h, body, func() (*message.Stamp, error) { return p.Stamp, nil }, nil
	}
	content, err := r.Sealer.Open(nil, string(m.ID), m.Data, m.Key)
	if err != nil {
		return message.Header{}, nil, nil, err
	}
	h, body, behind, err := message.Unprotect(content)
	return h, body, func() (*message.Stamp, error) { return message.StampAmong(behind) }, err
}

// protectClear is the entity to be signed in clear.
func (r *Runner) protectClear(original message.Header, body []byte, readStamp func() (*message.Stamp, error)) ([]byte, error) {
	stamp, err := readStamp()
	if err != nil {
		return nil, err
	}
	boundary, err := newBoundary(r.Rand)
	if err != nil {
		return nil, err
	}
	pieces, err := message.Protect(message.Payload{Original: original, Body: body, Stamp: stamp, Clear: true,
		Boundary: boundary, Location: r.Config.location()})
	return bytes.Join(pieces, nil), err
}

// asItCame puts a message together again.
func asItCame(h message.Header, own, body []byte) []byte {
	head := h.Bytes()
	mail := make([]byte, 0, len(head)+len(own)+len(body)+4)
	mail = append(append(append(mail, head...), own...), "\r\n"...)
	mail = append(mail, body...)
	if !bytes.HasSuffix(mail, []byte("\r\n")) {
		mail = append(mail, "\r\n"...) // RFC 5321 section 4.1.1.4
	}
	return mail
}
