package authz

import (
	"google.golang.org/grpc/health/grpc_health_v1"

	cosignerv1 "github.com/halfkey/halfkey/proto/gen/halfkey/cosigner/v1"
	gatewayv1 "github.com/halfkey/halfkey/proto/gen/halfkey/gateway/v1"
	identityv1 "github.com/halfkey/halfkey/proto/gen/halfkey/identity/v1"
	ledgerv1 "github.com/halfkey/halfkey/proto/gen/halfkey/ledger/v1"
	policyv1 "github.com/halfkey/halfkey/proto/gen/halfkey/policy/v1"
)

// Service is one of the five, as it stands in a SPIFFE id.
type Service string

// The five services.
const (
	Gateway  Service = "gateway"
	Identity Service = "identity"
	Policy   Service = "policy"
	Ledger   Service = "ledger"
	Cosigner Service = "cosigner"
)

// Services lists the five.
func Services() []Service { return []Service{Gateway, Identity, Policy, Ledger, Cosigner} }

// Listener is the kind of listener a method is served on.
type Listener int

const (
	// Internal listeners demand a client certificate: peers are services.
	Internal Listener = iota + 1
	// Public listeners show a server certificate and take calls from anyone.
	Public
	// Both is health checking alone.
	Both
)

// Auth is what authenticates a call on a public listener.
type Auth int

const (
	// Peer means that the caller is a service, known by its certificate.
	Peer Auth = iota + 1
	// Nothing means that the answer is public, or that the request proves itself (keys of a run, a group key's signature).
	Nothing
	// Token means that the call's metadata carry a token for method and resource under the caller's key.
	Token
	// Statement means that the request carries the signed statement that matters.
	Statement
)

// Callers is a set of caller kinds.
type Callers uint8

// Caller kinds: who can sign the token or statement of a method.
const (
	Agent Callers = 1 << iota
	Owner
	Operator
)

// Has says whether c holds all of kinds.
func (c Callers) Has(kinds Callers) bool { return c&kinds == kinds }

// Rule is one method's row.
type Rule struct {
	// Listener is where it is served; elsewhere it is refused.
	Listener Listener
	// Peers are the services that may call it; none for a public method.
	Peers []Service
	// AnyPeer lets every service with a certificate of the installation call it.
	AnyPeer bool
	// Auth is what authenticates the caller.
	Auth Auth
	// Callers are the kinds that can sign; none where nobody signs.
	Callers Callers
	// Moves says that a call can move money, or let it move. An error of such a method that does not say what happened
	// means UNKNOWN; any other method's means NO.
	Moves bool
	// Stops says that a call only stops or ends a stop. Servers keep places for these, so that no flood of other calls
	// keeps an owner from stopping a wallet.
	Stops bool
}

// gatewayOnly is the star: every internal service answers to the gateway.
var gatewayOnly = Rule{Listener: Internal, Peers: []Service{Gateway}, Auth: Peer}

// gatewayPays is gatewayOnly for a method that can move money.
var gatewayPays = Rule{Listener: Internal, Peers: []Service{Gateway}, Auth: Peer, Moves: true}

// gatewayStops is gatewayOnly for freezing and unfreezing.
var gatewayStops = Rule{Listener: Internal, Peers: []Service{Gateway}, Auth: Peer, Stops: true}

func open() Rule                 { return Rule{Listener: Public, Auth: Nothing} }
func token(callers Callers) Rule { return Rule{Listener: Public, Auth: Token, Callers: callers} }
func statement(callers Callers) Rule {
	return Rule{Listener: Public, Auth: Statement, Callers: callers}
}

func (r Rule) moving() Rule {
	r.Moves = true
	return r
}

func (r Rule) stopping() Rule {
	r.Stops = true
	return r
}

// anyCaller reads what identity lets it read.
const anyCaller = Agent | Owner | Operator

// table is the whole of it: full method -> rule.
var table = map[string]Rule{
	// The gateway, as the comments in gateway.proto say.
	gatewayv1.GatewayService_GetInstallations_FullMethodName:     open(),
	gatewayv1.GatewayService_CreateOwner_FullMethodName:          statement(Owner),
	gatewayv1.GatewayService_SetOwnerKeys_FullMethodName:         statement(Owner),
	gatewayv1.GatewayService_StartRegistration_FullMethodName:    statement(Agent),
	gatewayv1.GatewayService_ExchangeRegistration_FullMethodName: open(), // only the holder of the run's keys can go on
	gatewayv1.GatewayService_ConfirmRegistration_FullMethodName:  open(), // likewise
	gatewayv1.GatewayService_CompleteRegistration_FullMethodName: statement(Agent),
	gatewayv1.GatewayService_GetClaim_FullMethodName:             token(Owner),
	gatewayv1.GatewayService_ClaimWallet_FullMethodName:          statement(Owner),
	gatewayv1.GatewayService_GetWallet_FullMethodName:            token(anyCaller),
	gatewayv1.GatewayService_ListWallets_FullMethodName:          token(Owner),
	gatewayv1.GatewayService_GetAccount_FullMethodName:           token(anyCaller),
	gatewayv1.GatewayService_GetLimits_FullMethodName:            token(anyCaller),
	gatewayv1.GatewayService_GetSpending_FullMethodName:          token(anyCaller),
	gatewayv1.GatewayService_ReportShadowPayment_FullMethodName:  token(Agent),
	gatewayv1.GatewayService_GetShadowSummary_FullMethodName:     token(anyCaller),
	gatewayv1.GatewayService_SetGuardRails_FullMethodName:        statement(Owner),
	gatewayv1.GatewayService_GetGuardRails_FullMethodName:        token(anyCaller),
	gatewayv1.GatewayService_OrderResharing_FullMethodName:       statement(Owner),
	gatewayv1.GatewayService_GetResharing_FullMethodName:         token(anyCaller),
	gatewayv1.GatewayService_StartResharing_FullMethodName:       statement(Agent),
	gatewayv1.GatewayService_ExchangeResharing_FullMethodName:    open(), // only the holders of the run's keys can go on
	gatewayv1.GatewayService_ConfirmResharing_FullMethodName:     open(), // likewise
	gatewayv1.GatewayService_CompleteResharing_FullMethodName:    open(), // the group key's signature proves itself
	gatewayv1.GatewayService_ConfirmRecovery_FullMethodName:      statement(Owner),
	gatewayv1.GatewayService_GetBlockHash_FullMethodName:         token(Agent),
	gatewayv1.GatewayService_CreatePayment_FullMethodName:        statement(Agent).moving(),
	gatewayv1.GatewayService_SettlePayment_FullMethodName:        open().moving(), // the group key's signature proves itself
	gatewayv1.GatewayService_GetPayment_FullMethodName:           token(anyCaller),
	gatewayv1.GatewayService_ListPayments_FullMethodName:         token(anyCaller),
	gatewayv1.GatewayService_WatchPayment_FullMethodName:         token(anyCaller),
	gatewayv1.GatewayService_WatchPayments_FullMethodName:        token(anyCaller),
	gatewayv1.GatewayService_CancelPayment_FullMethodName:        token(Agent | Owner),
	gatewayv1.GatewayService_ListReviews_FullMethodName:          token(Owner),
	gatewayv1.GatewayService_AnswerReview_FullMethodName:         statement(Owner),
	gatewayv1.GatewayService_Freeze_FullMethodName:               token(anyCaller).stopping(),
	gatewayv1.GatewayService_Revoke_FullMethodName:               statement(Owner).stopping(),
	gatewayv1.GatewayService_Unfreeze_FullMethodName:             statement(Owner | Operator).stopping(),
	gatewayv1.GatewayService_ListFreezes_FullMethodName:          token(anyCaller),
	gatewayv1.GatewayService_ListEntries_FullMethodName:          token(anyCaller),
	gatewayv1.GatewayService_ApplyStatement_FullMethodName:       statement(Operator).moving(), // deposits and redemptions

	identityv1.IdentityService_CreateOwner_FullMethodName:          gatewayOnly,
	identityv1.IdentityService_SetOwnerKeys_FullMethodName:         gatewayOnly,
	identityv1.IdentityService_Revoke_FullMethodName:               gatewayStops,
	identityv1.IdentityService_CreateRegistration_FullMethodName:   gatewayOnly,
	identityv1.IdentityService_CompleteRegistration_FullMethodName: gatewayOnly,
	identityv1.IdentityService_GetClaim_FullMethodName:             gatewayOnly,
	identityv1.IdentityService_ActivateWallet_FullMethodName:       gatewayOnly,
	identityv1.IdentityService_EndRegistration_FullMethodName:      gatewayOnly,
	identityv1.IdentityService_SetGuardRails_FullMethodName:        gatewayOnly,
	identityv1.IdentityService_Authenticate_FullMethodName:         gatewayOnly,
	identityv1.IdentityService_GetWallet_FullMethodName:            gatewayOnly,
	identityv1.IdentityService_ListWallets_FullMethodName:          gatewayOnly,
	identityv1.IdentityService_ListExpired_FullMethodName:          gatewayOnly,
	identityv1.IdentityService_GetOwner_FullMethodName:             gatewayOnly,

	policyv1.PolicyService_OpenWallet_FullMethodName:    gatewayOnly,
	policyv1.PolicyService_SetGuardRails_FullMethodName: gatewayOnly,
	policyv1.PolicyService_GetDocuments_FullMethodName:  gatewayOnly,
	policyv1.PolicyService_Judge_FullMethodName:         gatewayOnly,

	ledgerv1.LedgerService_OpenAccount_FullMethodName:         gatewayOnly,
	ledgerv1.LedgerService_SetGuardRails_FullMethodName:       gatewayOnly,
	ledgerv1.LedgerService_GetDocuments_FullMethodName:        gatewayOnly,
	ledgerv1.LedgerService_GetBlockHash_FullMethodName:        gatewayOnly,
	ledgerv1.LedgerService_CreatePayment_FullMethodName:       gatewayPays,
	ledgerv1.LedgerService_GetPayment_FullMethodName:          gatewayOnly,
	ledgerv1.LedgerService_ListPayments_FullMethodName:        gatewayOnly,
	ledgerv1.LedgerService_WatchPayment_FullMethodName:        gatewayOnly,
	ledgerv1.LedgerService_WatchPayments_FullMethodName:       gatewayOnly,
	ledgerv1.LedgerService_AnswerReview_FullMethodName:        gatewayOnly,
	ledgerv1.LedgerService_CancelPayment_FullMethodName:       gatewayOnly,
	ledgerv1.LedgerService_SettlePayment_FullMethodName:       gatewayPays,
	ledgerv1.LedgerService_Freeze_FullMethodName:              gatewayStops,
	ledgerv1.LedgerService_Revoke_FullMethodName:              gatewayStops,
	ledgerv1.LedgerService_Unfreeze_FullMethodName:            gatewayStops,
	ledgerv1.LedgerService_ListFreezes_FullMethodName:         gatewayOnly,
	ledgerv1.LedgerService_GetAccount_FullMethodName:          gatewayOnly,
	ledgerv1.LedgerService_GetLimits_FullMethodName:           gatewayOnly,
	ledgerv1.LedgerService_GetSpending_FullMethodName:         gatewayOnly,
	ledgerv1.LedgerService_ReportShadowPayment_FullMethodName: gatewayOnly,
	ledgerv1.LedgerService_GetShadowSummary_FullMethodName:    gatewayOnly,
	ledgerv1.LedgerService_ApplyStatement_FullMethodName:      gatewayPays,
	ledgerv1.LedgerService_ListEntries_FullMethodName:         gatewayOnly,
	ledgerv1.LedgerService_ListReviews_FullMethodName:         gatewayOnly,

	cosignerv1.CosignerService_StartKeyGeneration_FullMethodName:    gatewayOnly,
	cosignerv1.CosignerService_ExchangeKeyGeneration_FullMethodName: gatewayOnly,
	cosignerv1.CosignerService_ConfirmKeyGeneration_FullMethodName:  gatewayOnly,
	cosignerv1.CosignerService_CompleteKeyGeneration_FullMethodName: gatewayOnly,
	cosignerv1.CosignerService_SealWallet_FullMethodName:            gatewayOnly,
	cosignerv1.CosignerService_EndRegistration_FullMethodName:       gatewayOnly,
	cosignerv1.CosignerService_SetGuardRails_FullMethodName:         gatewayOnly,
	cosignerv1.CosignerService_GetWallet_FullMethodName:             gatewayOnly,
	cosignerv1.CosignerService_OrderResharing_FullMethodName:        gatewayOnly,
	cosignerv1.CosignerService_GetResharing_FullMethodName:          gatewayOnly,
	cosignerv1.CosignerService_StartResharing_FullMethodName:        gatewayOnly,
	cosignerv1.CosignerService_ExchangeResharing_FullMethodName:     gatewayOnly,
	cosignerv1.CosignerService_ConfirmResharing_FullMethodName:      gatewayOnly,
	cosignerv1.CosignerService_CompleteResharing_FullMethodName:     gatewayOnly,
	cosignerv1.CosignerService_ConfirmRecovery_FullMethodName:       gatewayOnly,
	cosignerv1.CosignerService_Release_FullMethodName:               gatewayPays,
	cosignerv1.CosignerService_Freeze_FullMethodName:                gatewayStops,
	cosignerv1.CosignerService_Revoke_FullMethodName:                gatewayStops,
	cosignerv1.CosignerService_Unfreeze_FullMethodName:              gatewayStops,
	cosignerv1.CosignerService_ListFreezes_FullMethodName:           gatewayOnly,

	// Health says only whether a service answers. Internal listeners still demand a certificate of the installation.
	grpc_health_v1.Health_Check_FullMethodName: {Listener: Both, AnyPeer: true, Auth: Nothing},
	grpc_health_v1.Health_Watch_FullMethodName: {Listener: Both, AnyPeer: true, Auth: Nothing},
	grpc_health_v1.Health_List_FullMethodName:  {Listener: Both, AnyPeer: true, Auth: Nothing},
}

// Lookup is a method's rule; false means that nobody may call it.
func Lookup(fullMethod string) (Rule, bool) {
	r, ok := table[fullMethod]
	return r, ok
}
