// Payloads for /emit/ and the events that the WHATWG rules make of them: what must reach every client, byte for byte.

const one = (payload, ...data) => ({ payload, data });

export const corpus = [
  one('data: plain\n\n', 'plain'),
  one('data: UTF-8: žluťoučký кот 猫 🛒 é\n\n', 'UTF-8: žluťoučký кот 猫 🛒 é'),
  one('data: first\ndata: second\ndata:\ndata: fourth\n\n', 'first\nsecond\n\nfourth'),
  one('data:\ndata:\n\n', '\n'),
  one('data\n\ndata: after a bare field\n\n', '', 'after a bare field'),
  one('data: carriage\rdata: returns\r\r', 'carriage\nreturns'),
  one('data: both\r\ndata: ends\r\n\r\n', 'both\nends'),
  one('data: mixed\rdata: line\r\ndata: ends\n\r\n', 'mixed\nline\nends'),
  one('data:  two spaces, one is kept\n\n', ' two spaces, one is kept'),
  one('data:no space: and: colons\n\n', 'no space: and: colons'),
  one(': a comment\ndata: beside a comment\n: another\n\n', 'beside a comment'),
  one('id: forged.1\nevent: message\nretry: 1\ndata: the id is ours\n\n', 'the id is ours'),
  one('unknown: field\ndata: beside an unknown field\nDATA: not a field\n\n', 'beside an unknown field'),
  one('data: several\n\ndata: in one\n\n: only a comment\n\ndata: payload\n\n', 'several', 'in one', 'payload'),
  one('data: no blank line at the end', 'no blank line at the end'),
  one('event: item\ndata: {"named":true}\n\n', '{"named":true}'),
  one('data: separators \u2028 \u2029 \u0085 \u000b \u000c \u001c stay\n\n', 'separators \u2028 \u2029 \u0085 \u000b \u000c \u001c stay'),
  one('data: a bom \ufeff inside\n\n', 'a bom \ufeff inside'),
  one(`data: ${'long '.repeat(4000)}\n\n`, 'long '.repeat(4000)),
  one(`data: ${'🛒'.repeat(3000)}\n\n`, '🛒'.repeat(3000)),
  one('event: x\nid: nothing to tell\n\ndata: after an event without data\n\n', 'after an event without data'),
];
