package client

import (
	"bytes"
	"context"
	"slices"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/halfkey/halfkey/internal/evidence"
	gatewayv1 "github.com/halfkey/halfkey/proto/gen/halfkey/gateway/v1"
	typev1 "github.com/halfkey/halfkey/proto/gen/halfkey/type/v1"
)

// catchUpMin is the least time between two looks for newer installation files that answers give reason to: a gateway that answers
// nonsense costs one more call in a while, and not one with each.
const catchUpMin = 2 * time.Second

// catchUp looks for newer installation files if an answer carries a service's statement under a key that the file in force does not
// name: then the keys were rotated since this client looked last. It decides nothing. Whoever asked verifies the answer, under the
// file that is in force by then, and refuses it if this could not be done.
func (c *Client) catchUp(ctx context.Context, answer any) {
	m, ok := answer.(proto.Message)
	if !ok || !signedByUnknown(c.Installation(), m.ProtoReflect()) {
		return
	}
	c.following.Lock()
	defer c.following.Unlock()
	now := time.Now() // Not Config's clock, which may stand still: this is about load.
	if now.Sub(c.caughtUp) < catchUpMin {
		return
	}
	c.caughtUp = now
	_ = c.follow(ctx)
}

// EarlierInstallations returns the installation files before the one in force, from number 1 on: VerifyJournal counts the operator
// keys of their time. Each is the file that its successor names by digest, so the gateway's word for them is not needed.
func (c *Client) EarlierInstallations(ctx context.Context) ([]*evidence.Installation, error) {
	const op = "read installation files"
	var chain []*evidence.Installation
	for {
		from := uint64(len(chain)) + 1
		resp, err := invoke(ctx, c, rpc{op: op}, &gatewayv1.GetInstallationsRequest{FromNumber: from}, gatewayv1.GatewayServiceClient.GetInstallations)
		if err != nil {
			return nil, err
		}
		// Asked after each call, because a call may have followed the chain.
		last := c.Installation()
		for _, e := range resp.GetInstallations() {
			if uint64(len(chain)) == last.Number()-1 {
				break
			}
			i, err := evidence.ParseInstallation(e)
			if err == nil && len(chain) > 0 {
				i, err = evidence.Succeed(chain[len(chain)-1], e)
			}
			if err != nil {
				return nil, distrust(op, notMoved, "an installation file of before does not verify", err)
			}
			chain = append(chain, i)
		}
		switch n := uint64(len(chain)); {
		case n < last.Number()-1 && len(resp.GetInstallations()) > 0 && n < evidence.ChainMax:
			continue
		case n < last.Number()-1:
			return nil, distrust(op, notMoved, "the gateway does not have every installation file before the one in force", nil)
		}
		if n := len(chain); n > 0 && !chain[n-1].Digest().Is(last.Content().GetPredecessor()) {
			return nil, distrust(op, notMoved, "the installation files of before are not those that the one in force follows", nil)
		}
		return chain, nil
	}
}

// statementPurposes says under which keys the services sign what.
func statementPurposes(payloadType string) []typev1.Purpose {
	switch payloadType {
	case evidence.TypeWalletRecord, evidence.TypeKeyGenerationAnswer, evidence.TypeRegistrationEnd,
		evidence.TypeResharingAnswer, evidence.TypeSharingRecord:
		return []typev1.Purpose{typev1.Purpose_PURPOSE_COSIGNER}
	case evidence.TypeVerdict:
		return []typev1.Purpose{typev1.Purpose_PURPOSE_POLICY}
	case evidence.TypeReceipt, evidence.TypeSettlement, evidence.TypeDeadMessage, evidence.TypeChainTransfer, evidence.TypeJournalHead:
		return []typev1.Purpose{typev1.Purpose_PURPOSE_LEDGER}
	case evidence.TypeAcknowledgement:
		return []typev1.Purpose{typev1.Purpose_PURPOSE_COSIGNER, typev1.Purpose_PURPOSE_POLICY, typev1.Purpose_PURPOSE_LEDGER}
	}
	return nil
}

// signedByUnknown reports whether a message holds, at any depth, a service's statement that no key of the file signed, current or
// retired. Signatures are not verified here.
func signedByUnknown(i *evidence.Installation, m protoreflect.Message) bool {
	if e, ok := m.Interface().(*typev1.Envelope); ok {
		purposes := statementPurposes(e.GetPayloadType())
		if len(purposes) == 0 || len(e.GetSignatures()) == 0 {
			return false
		}
		var keys [][]byte
		for _, p := range purposes {
			keys = append(keys, i.EveryKey(p)...)
		}
		return !slices.ContainsFunc(e.GetSignatures(), func(s *typev1.Signature) bool {
			return slices.ContainsFunc(keys, func(k []byte) bool { return bytes.Equal(k, s.GetPublicKey()) })
		})
	}
	unknown := false
	m.Range(func(f protoreflect.FieldDescriptor, v protoreflect.Value) bool {
		if f.Message() == nil || f.IsMap() {
			return true
		}
		if !f.IsList() {
			unknown = signedByUnknown(i, v.Message())
			return !unknown
		}
		for n := range v.List().Len() {
			if unknown = signedByUnknown(i, v.List().Get(n).Message()); unknown {
				return false
			}
		}
		return true
	})
	return unknown
}
