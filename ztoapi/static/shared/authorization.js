// The header field with a key.

/** Header fields hold bytes, and fetch() refuses other characters; encoded, the gateway can report a wrong key. */
const bytesOf = (text) => String.fromCharCode(...new TextEncoder().encode(text));

/** The header fields of a request with `key`; none without a key. */
export const authorization = (key) => (key ? { authorization: `Bearer ${bytesOf(key)}` } : {});
