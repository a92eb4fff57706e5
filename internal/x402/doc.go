// Package x402 reads and writes what passes between a client and a server that sells over HTTP by x402, versions 1 and 2: what
// the server asks, what the client sends, and what the server says became of it. It chooses the offer to pay.
//
// Who should not use it: whoever wants to know whether something was paid. Whatever a server says is a claim, a receipt too;
// the ledger and the chain know. This package fetches nothing, signs nothing and knows no time: package webclient does the HTTP,
// package client the paying.
//
// # The order of things
//
//	client                                  server
//	  request                      ──►
//	                               ◄──      402, header PAYMENT-REQUIRED: Required, with one Offer or several
//	  Choose, pay
//	  the same request with
//	  header PAYMENT-SIGNATURE:
//	  Payment                      ──►
//	                               ◄──      the resource, header PAYMENT-RESPONSE: Receipt
//
// Each header is standard base64, with padding, of JSON. In version 1 the offer stands in the body of the 402, and the headers
// are X-PAYMENT and X-PAYMENT-RESPONSE. Version 1 is for clients only here; a seller speaks version 2.
//
// # Promises
//
//   - What is read is bounded and strict: one size for each part, no name twice in one object, no depth without end, no text
//     where a number belongs and no number where a text does, no fraction, no exponent. A field that is not known is kept and
//     not judged.
//   - An offer goes back byte for byte as it came, and so do the resource and every extension but the one that the client
//     answers in. So a price that changed matches nothing, and nothing moves.
//   - One offer that cannot be paid does not spoil the others: it is listed with the reason, which is a constant.
//   - What is sent fits: a Payment that Paid makes has a header, whatever the server offered, so that nothing is refused for
//     its size after money has moved.
//   - Words of the server are Untrusted and show quoted and escaped. Errors hold none of them.
package x402
