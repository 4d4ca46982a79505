#include "wal/transaction_end.h"

#include "wal/record_bytes.h"
#include "wal/records.h"

namespace weir::wal {

namespace {

// access/xact.h
constexpr std::uint8_t kOperationMask = 0x70;  // XLOG_XACT_OPMASK
constexpr std::uint8_t kCommit = 0x00;
constexpr std::uint8_t kPrepare = 0x10;
constexpr std::uint8_t kAbort = 0x20;
constexpr std::uint8_t kCommitPrepared = 0x30;
constexpr std::uint8_t kAbortPrepared = 0x40;
constexpr std::uint8_t kHasInfo = 0x80;  // XLOG_XACT_HAS_INFO

/// The xid of a prepared transaction, which follows the record's other parts (ParseCommitRecord in
/// access/rmgrdesc/xactdesc.c); 0 if it cannot be determined.
std::uint32_t prepared_transaction(std::span<const std::byte> rest, bool commit) {
  constexpr std::uint32_t kDatabase = 1, kSubtransactions = 2, kRelations = 4, kInvalidations = 8,
                          kTwoPhase = 16, kDroppedStatistics = 256;
  const auto info = take<std::uint32_t>(rest);
  // The size of dropped statistics items differs between versions.
  if (!info || (*info & kTwoPhase) == 0 || (*info & kDroppedStatistics) != 0) return 0;
  const auto skip = [&](std::uint64_t bytes) {
    if (bytes > rest.size()) return false;
    rest = rest.subspan(bytes);
    return true;
  };
  const auto skip_items = [&](std::uint64_t item) {
    const auto count = take<std::uint32_t>(rest);
    return count && skip(*count * item);
  };
  if ((*info & kDatabase) != 0 && !skip(8)) return 0;
  if ((*info & kSubtransactions) != 0 && !skip_items(4)) return 0;
  if ((*info & kRelations) != 0 && !skip_items(12)) return 0;
  if (commit && (*info & kInvalidations) != 0 && !skip_items(16)) return 0;
  return take<std::uint32_t>(rest).value_or(0);
}

}  // namespace

bool is_prepare(const RecordHeader& header) {
  return header.resource_manager == kTransactionManager &&
         (header.info & kOperationMask) == kPrepare;
}

bool TransactionObserver::wants(const RecordHeader& header) {
  if (header.resource_manager != kTransactionManager) return false;
  const auto operation = header.info & kOperationMask;
  return operation == kCommit || operation == kCommitPrepared || operation == kAbort ||
         operation == kAbortPrepared;
}

void TransactionObserver::on_record(Lsn start, Lsn end, const RecordHeader& header,
                                    std::span<const std::byte> body) {
  if (done_ || !wants(header)) return;
  auto data = main_data(body);
  const auto time = data ? take<std::int64_t>(*data) : std::nullopt;
  if (!time) return;
  const auto operation = header.info & kOperationMask;
  TransactionEnd found{{start, end, header.transaction, {*time}},
                       operation == kAbort || operation == kAbortPrepared};
  if ((operation == kCommitPrepared || operation == kAbortPrepared) &&
      (header.info & kHasInfo) != 0)
    found.commit.transaction = prepared_transaction(*data, operation == kCommitPrepared);
  done_ = !visit_(found);
}

}  // namespace weir::wal
