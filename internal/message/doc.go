// Package message splits a mail message into header and body byte for byte, reads,
// adds and removes header fields, and builds what the gateway puts around a message:
// the outer header of the copies, the stamp, and the content that is encrypted.
//
// Nothing here decodes a message and encodes it again. What a sender wrote is moved
// as bytes, so that a signature in it stays valid; only values that people or the
// policy read are decoded. A header is read leniently, because it comes from anyone,
// and written strictly, because it speaks for the gateway.
package message
