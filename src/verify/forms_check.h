#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <set>
#include <string>

#include "archive/listing.h"
#include "verify/context.h"
#include "wal/record_verifier.h"

namespace weir::verify {

/// Checks the files of a complete segment: the WAL in the file that is read, and that all others
/// are the same. Findings go to the context's results. Any thread.
class FormsCheck {
 public:
  explicit FormsCheck(Context& context) : context_(context) {}

  /// Returns true if a valid file was read to its end, which is then the position of `verifier`. If
  /// it was stopped, nothing is settled.
  bool check(std::size_t node, std::optional<wal::RecordVerifier>& verifier);
  /// Checks that an old timeline's last segment, up to the switchpoint, equals the new timeline's
  /// copy.
  void check_switch_copy(const SwitchCopy& copy);

 private:
  void check_other_forms(const Node& node, const archive::SegmentFileName& sound,
                         const std::set<std::string>& tried);
  void check_partial_beside(const Node& node, const archive::SegmentFileName& sound);
  bool check_switch_copy(const SwitchCopy& copy, const archive::SegmentFileName& old_file,
                         const archive::SegmentFileName& new_file, wal::Lsn start);
  [[nodiscard]] bool still_being_written(const archive::SegmentFileName& file, const Node& node);
  [[nodiscard]] bool ends_at_switchpoint(const Node& node, const wal::Damage& damage) const;
  [[nodiscard]] bool replay_filler(const Node& node, const archive::SegmentFileName& file,
                                   std::uint64_t offset);

  Context& context_;
};

}  // namespace weir::verify
