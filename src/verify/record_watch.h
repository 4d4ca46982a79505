#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <utility>

#include "verify/context.h"
#include "wal/record_verifier.h"
#include "wal/records.h"

namespace weir::verify {

/// Reads the few records about timelines and backups: whether a timeline starts where its history
/// file says, where the named backup ends, and where wal_level was lowered to minimal. Findings go
/// to the context's results.
class RecordWatch final : public wal::RecordObserver {
 public:
  /// For a row of segments that starts with that one.
  [[nodiscard]] static std::unique_ptr<RecordWatch> of(Context& context, const Node& node);

  /// During its lifetime, `other` gets the records of `watch`: a verifier keeps its observer, even
  /// when it continues on another timeline.
  class Passed {
   public:
    Passed(RecordWatch& watch, wal::RecordObserver& other)
        : watch_(watch), before_(std::exchange(watch.other_, &other)) {}
    ~Passed() { watch_.other_ = before_; }
    Passed(const Passed&) = delete;
    Passed& operator=(const Passed&) = delete;

   private:
    RecordWatch& watch_;
    wal::RecordObserver* const before_;
  };

  bool wants(const wal::RecordHeader& header) override;
  [[nodiscard]] bool needs_xlog_only() const override { return other_ == nullptr && !switchpoint_; }
  void on_record(wal::Lsn start, wal::Lsn end, const wal::RecordHeader& header,
                 std::span<const std::byte> body) override;

 private:
  RecordWatch(Context& context, const Node& node);
  void judge_switch(wal::Lsn start, const wal::RecordHeader& header,
                    std::span<const std::byte> body);
  void complain(wal::Lsn at, std::string what);

  Context& context_;
  wal::RecordObserver* other_ = nullptr;
  wal::TimelineId timeline_;
  std::optional<wal::Lsn> switchpoint_;
  wal::TimelineId parent_ = 0;
  wal::Lsn first_record_;
  bool seen_first_ = false;
};

}  // namespace weir::verify
