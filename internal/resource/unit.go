package resource

const (
	// UnitUSD is the unit of account of dollars, in millionths.
	UnitUSD = "USD"

	bookPrefix    = "halfkey:"
	bookUSDSuffix = "/iso4217:USD"
	usdDecimals   = 6

	// BookAssetMax is the length of the longest book asset's id.
	BookAssetMax = len(bookPrefix) + InstallationMax + len(bookUSDSuffix)
)

// BookUSD is the CAIP-19 id of an installation's book dollars, `halfkey:{installation}/iso4217:USD`.
func BookUSD(installation string) string { return bookPrefix + installation + bookUSDSuffix }

// UnitOf is the unit of account that limits count an asset in, and the decimals of both. An asset that is not known here has
// none, and what has no unit can be neither limited nor paid. Book dollars of another installation are not known: another
// operator issues them.
func UnitOf(asset, installation string) (unit string, decimals int, ok bool) {
	if ValidInstallation(installation) != nil {
		return "", 0, false
	}
	if asset == BookUSD(installation) {
		return UnitUSD, usdDecimals, true
	}
	t, ok := TokenOf(asset)
	return t.Unit, t.Decimals, ok
}

// UnitDecimals is how many decimals amounts in a unit of account have, as all its assets do. It reports whether the unit is known.
func UnitDecimals(unit string) (decimals int, ok bool) {
	if unit != UnitUSD {
		return 0, false
	}
	return usdDecimals, true
}

// KnownUnit reports whether some asset is counted in this unit of account. A limit in any other would never bite.
func KnownUnit(unit string) bool { return unit == UnitUSD }
