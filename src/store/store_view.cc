#include "store/store_view.h"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "base/units.h"

namespace weir::store {

std::string store_json(const StoreView& view) {
  using Json = nlohmann::ordered_json;
  const auto now = std::chrono::system_clock::now();
  Json json;
  json["store"] = view.store;
  json["pending_segments"] = view.pending_segments;
  json["pending_histories"] = view.pending_histories;
  json["pending_bytes"] = view.pending_bytes;
  if (!view.next.empty()) json["next"] = view.next;
  json["oldest_pending_seconds"] = nullptr;
  if (view.pending_since) {
    json["pending_since"] = format_time(*view.pending_since);
    json["oldest_pending_seconds"] = std::max<std::int64_t>(
        0, std::chrono::duration_cast<std::chrono::seconds>(now - *view.pending_since).count());
  }
  if (view.sent_to) json["sent_to"] = view.sent_to->to_string();
  if (view.sent_lsn) json["sent_lsn"] = view.sent_lsn->to_string();
  if (view.stored_end) json["stored_lsn"] = view.stored_end->end.to_string();
  if (view.open_lsn) json["open_lsn"] = view.open_lsn->to_string();
  if (view.open_sent) json["open_sent"] = format_time(*view.open_sent);
  json["sent_files"] = view.sent_files;
  json["sent_bytes"] = view.sent_bytes;
  std::uint64_t failures = 0;
  for (const auto& [reason, count] : view.failures) failures += count;
  json["failures"] = failures;
  json["sent_again"] = view.sent_again;
  json["removed_files"] = view.removed_files;
  if (view.not_compared > 0) json["not_compared"] = view.not_compared;
  if (view.manifest)
    json["manifest"] = {{"chain", view.manifest->chain},
                        {"lines", view.manifest->lines},
                        {"head", view.manifest->head},
                        {"signed", view.manifest->is_signed}};
  if (view.last_success) json["last_success"] = format_time(*view.last_success);
  json["last_error"] = nullptr;
  if (view.problem) {
    json["last_error"] = view.problem->text;
    if (!view.problem->hint.empty()) json["hint"] = view.problem->hint;
    json["reason"] = view.problem->reason;
    json["needs_person"] = view.problem->needs_person;
    json["since"] = format_time(view.problem->since);
  }
  if (view.next_try) json["next_try"] = format_time(*view.next_try);
  if (!view.kept_for.empty()) json["kept_for"] = view.kept_for;
  return json.dump(-1, ' ', false, Json::error_handler_t::replace);
}

}  // namespace weir::store
