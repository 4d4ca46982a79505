#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <utility>

#include "wal/lsn.h"
#include "wal/pg_time.h"
#include "wal/record_verifier.h"

namespace weir::wal {

struct Commit {
  Lsn start;  ///< of the commit record: the recovery_target_lsn that includes it
  Lsn end;
  std::uint32_t transaction = 0;  ///< xid; 0: unknown
  PgTime time;
  bool operator==(const Commit&) const = default;
};

/// A transaction's end, as recovery_target_time uses it.
struct TransactionEnd {
  Commit commit;
  bool aborted = false;
};

/// PREPARE TRANSACTION: neither a commit nor an end, but a promise to commit that a crash keeps.
/// Its xid is the record's.
[[nodiscard]] bool is_prepare(const RecordHeader& header);

/// Finds the ends of transactions in the WAL that a verifier reads: decodes records of RM_XACT_ID
/// (access/xact.h).
class TransactionObserver final : public RecordObserver {
 public:
  /// Returns true to continue.
  using Visit = std::function<bool(const TransactionEnd&)>;

  explicit TransactionObserver(Visit visit) : visit_(std::move(visit)) {}

  bool wants(const RecordHeader& header) override;
  void on_record(Lsn start, Lsn end, const RecordHeader& header,
                 std::span<const std::byte> body) override;
  /// `visit` has returned false.
  [[nodiscard]] bool done() const { return done_; }

 private:
  Visit visit_;
  bool done_ = false;
};

}  // namespace weir::wal
