#pragma once

#include <cstddef>
#include <memory>
#include <optional>
#include <vector>

#include "verify/context.h"
#include "verify/forms_check.h"
#include "verify/record_watch.h"
#include "wal/record_verifier.h"

namespace weir::verify {

/// Reads the chunks of a plan and checks them, each on any thread. Findings go to the context's
/// results. If it is requested to stop, a check ends early.
class ChunkCheck {
 public:
  explicit ChunkCheck(Context& context) : context_(context), forms_(context) {}

  void check_chunk(const std::vector<std::size_t>& chunk);
  void check_lone_partial(std::size_t node);
  void check_switch_copy(const SwitchCopy& copy) { forms_.check_switch_copy(copy); }

 private:
  [[nodiscard]] std::unique_ptr<RecordWatch> new_watch(std::size_t node) {
    return RecordWatch::of(context_, context_.plan.nodes[node]);
  }
  void follow_children(std::size_t node, const std::optional<wal::RecordVerifier>& verifier,
                       std::optional<std::size_t> next, RecordWatch* observer);
  [[nodiscard]] bool check_border(const Node& parent, wal::RecordVerifier verifier,
                                  std::size_t child, RecordWatch& observer);
  void check_partial(std::size_t node, std::optional<wal::RecordVerifier> verifier,
                     RecordWatch* observer);
  [[nodiscard]] bool is_received_again(std::size_t node) const;
  [[nodiscard]] bool has_begun(const Node& node) const;
  void check_finished_meanwhile(std::size_t node, const wal::RecordVerifier& before,
                                RecordWatch* observer);

  Context& context_;
  FormsCheck forms_;
};

}  // namespace weir::verify
