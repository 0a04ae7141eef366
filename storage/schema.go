package storage

import _ "embed"

// schemaV1 is what a new database begins with. What stands here is never
// edited after a release.
//
//go:embed schema.sql
var schemaV1 string

// schemaV2 adds the decisions about messages.
//
//go:embed schema_v2.sql
var schemaV2 string

// schemaMetadata adds annotations.
//
//go:embed schema_metadata.sql
var schemaMetadata string

// schemaPacked adds copies of indexes.
//
//go:embed schema_packed.sql
var schemaPacked string

// schemaBodies has fewer bodies found by their hash.
//
//go:embed schema_bodies.sql
var schemaBodies string

// schemaTLS adds MTA-STS policies and counts for TLS reports.
//
//go:embed schema_tls.sql
var schemaTLS string

// schemaAccessKeys adds mailbox access keys.
//
//go:embed schema_accesskeys.sql
var schemaAccessKeys string

// migrations are the schema's steps, append-only: [i] leads from version i to i+1.
func migrations() []string {
	return []string{schemaV1, schemaV2, schemaMetadata, schemaPacked, schemaBodies, schemaTLS, schemaAccessKeys}
}

// chunkBits: a chunk's rowid is its body's id shifted by so many bits, plus its
// sequence number; 2^20 chunks of 256 KiB bound a body at 256 GiB.
const (
	chunkBits = 20
	chunkSize = 256 << 10
)
