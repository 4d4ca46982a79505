#include "web/advice.h"

namespace weir::web {

Advice advice_on(status::Topic topic) {
  using status::Topic;
  constexpr std::string_view kGone = "The server no longer has the WAL";
  constexpr std::string_view kArchive = "The archive itself";
  constexpr std::string_view kRefuses = "The server refuses";
  constexpr std::string_view kWaits = "It waits";
  switch (topic) {
    case Topic::hole:
      return {
          "Look for these segments in another archive or in a server's pg_wal, and bring them in "
          "with \"pgweir import\". If nobody has them, take a base backup now; then \"pgweir "
          "ack\".",
          kGone};
    case Topic::lost_branch:
      return {
          "The WAL is here, on its own timeline. Read what was lost if it matters, by a recovery "
          "to that timeline; then \"pgweir ack\".",
          kGone};
    case Topic::minimal_wal:
      return {
          "Take a base backup now: an earlier one can be recovered only up to where wal_level was "
          "lowered. Then \"pgweir ack\".",
          kGone};
    case Topic::not_vouched_for:
      return {"Bring in the WAL beside it with \"pgweir import\": it looks again.", "Import"};
    case Topic::published_open:
      return {
          "Readers of whole segments end there. The true segment replaces it when it is sent; "
          "after a "
          "disaster there will be none.",
          "An object store"};
    case Topic::damage:
      return {
          "Run \"pgweir verify\" to see all of it, and copy the named files anew from another "
          "archive or a server's pg_wal.",
          kArchive};
    case Topic::receiver_silent:
      return {"Look at the disk (dmesg) and at the receiver's log: something hangs.", kArchive};
    case Topic::no_receiver:
      return {
          "Start the receiver. Its log says why it ended; exit status 4 needs a person. A slot "
          "keeps the WAL meanwhile; without one, hurry.",
          "A sync failed"};
    case Topic::disk_full:
      return {
          "Make space: \"pgweir prune\", \"pgweir compress\", or more disk. Nothing is lost; the "
          "receiver goes on by itself.",
          kArchive};
    case Topic::not_streaming:
      return {
          "Look at the last error below; \"pgweir doctor\" looks for the cause. The receiver "
          "tries again by itself.",
          kRefuses};
    case Topic::server_silent:
      return {"Look at the network and at the server: an idle server is heard of.", kWaits};
    case Topic::slot:
      return {
          "The server may give the slot up, and then WAL is missing. Start what is behind, raise "
          "max_slot_wal_keep_size, and look at the slot with \"pgweir slot list\".",
          kGone};
    case Topic::candidate:
      return {"A failover to that host may leave a gap. docs/ha.md has what to do for each reason.",
              kGone};
    case Topic::difference:
      return {
          "Two servers have different WAL at the same place. Find out which one is right before "
          "anything is restored: docs/compare.md.",
          "Drills and the second upstream"};
    case Topic::comparison:
      return {"The archive goes on; only the comparison rests. Look at the second upstream.",
              "Drills and the second upstream"};
    case Topic::store:
      return {
          "Archiving to the disk goes on, and it is tried again for ever. \"pgweir store check\" "
          "tries the store step by step and names what is wrong. The disk fills meanwhile where "
          "--local-retention is to free it.",
          "An object store"};
    case Topic::certificate:
      return {
          "Put the new certificate and its key where the old ones are; they are read at the next "
          "connection. \"pgweir doctor\" looks at them.",
          "Certificates and secrets"};
    case Topic::relay:
      return {
          "Look at who is behind, and drop a slot that nobody needs: it holds back \"pgweir "
          "prune\".",
          "A client of `pgweir serve` gets no WAL"};
    case Topic::server_unreachable:
      return {
          "Look at the network and at the connection string; \"pgweir doctor\" tries it step by "
          "step.",
          "`status -d`, `doctor`"};
    case Topic::other_cluster:
      return {
          "This is not the server of this archive. Check the connection string and the "
          "directory.",
          "Not this archive's server"};
    case Topic::branch:
      return {
          "The server and the archive have gone different ways. Find out which history counts "
          "before anything else.",
          "Another branch of history"};
    case Topic::lag:
      return {"A faster disk or network, or less beside it; \"pgweir doctor\" measures the disk.",
              kWaits};
    case Topic::other:
      break;
  }
  return {"Look for the words of the message in the chapter on troubleshooting.", "Anything else"};
}

}  // namespace weir::web
