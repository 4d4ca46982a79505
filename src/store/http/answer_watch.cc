#include "store/http/answer_watch.h"

#include <fmt/format.h>

#include <chrono>

namespace weir::store {

namespace {

NoAnswer too_late(const AnswerWatch& watch) {
  return NoAnswer(NoAnswer::Why::given_up,
                  fmt::format("no good answer within {} s",
                              std::chrono::ceil<std::chrono::seconds>(watch.bound()).count()));
}

}  // namespace

Answer WatchedTransport::perform(const Request& request) {
  constexpr int kTooMany = 429;
  constexpr int kServerInTrouble = 500;
  watch_.asked();
  if (watch_.over()) throw too_late(watch_);
  try {
    auto answer = inner_->perform(request);
    if (answer.status < kServerInTrouble && answer.status != kTooMany) watch_.answered();
    return answer;
  } catch (const NoAnswer& failure) {
    if (failure.why() == NoAnswer::Why::given_up && watch_.over()) throw too_late(watch_);
    throw;
  }
}

}  // namespace weir::store
