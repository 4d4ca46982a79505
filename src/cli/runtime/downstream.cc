// Serving never makes the receiver wait (`cli/downstream`). `event::DurableEnd`, which is raised
// under the stream's lock, stores two numbers. If they belong to the timeline being served and
// there are up to eight sessions, the same thread moves the hub's end and raises the eventfd of
// each waiting session: a microsecond or two for each, and no thread between the sync and the
// sender. Otherwise the thread that monitors the archive is woken, and does that. It always handles
// a timeline switch, which requires reading a history file.

#include "cli/runtime/downstream.h"

#include <chrono>
#include <utility>

#include "base/error.h"
#include "base/exit_status.h"
#include "base/units.h"
#include "net/wait.h"

namespace weir::cli {

namespace {

using namespace std::chrono_literals;

constexpr std::chrono::milliseconds kSoon = 200ms;

/// Not the error for removed WAL: a downstream receiver would take that for a gap of its own,
/// although it may still get the WAL from another host.
wire::ErrorReport report_of_end(const Error& error) {
  if (error.kind() == ErrorKind::gap)
    return {"57P03", "the next WAL is missing in the archive of this relay",
            "Serving stops here until that WAL is imported."};
  return {"57P03", "the receiver of this relay has ended with status 4",
          std::string(error.message())};
}

}  // namespace

Downstream::Downstream(const ServeRequest& request, io::Directory& archive, receive::Feed& feed,
                       receive::StatusBoard& board, receive::Downstream& word, Log& log,
                       std::function<void(const Error&)> durability_lost,
                       std::chrono::milliseconds try_again)
    : feed_(feed),
      board_(board),
      word_(word),
      log_(log),
      durability_lost_(std::move(durability_lost)),
      try_again_(try_again),
      serving_(request, archive, [this] { return durable(); }, log,
               {.feedback = [this](const relay::Feedback& feedback) { on_feedback(feedback); },
                .comes_or_goes =
                    [this](const archive::DownstreamClient& client, const std::string& why) {
                      if (why.empty())
                        feed_.publish(receive::event::ClientCame{client});
                      else
                        feed_.publish(receive::event::ClientGone{client, why});
                    },
                .durability_lost = durability_lost_}),
      listening_(feed.listen([this](const receive::event::DurableEnd& end) { on_durable(end); },
                             [this](const receive::event::ServerChanged& server) {
                               if (!server.version.empty()) serving_.hear_version(server.version);
                             })),
      thread_(machine_threads().start("serve", [this] { work(); })) {
  board_.set_serving([this] {
    auto view = serving_.view();
    const std::lock_guard lock(mutex_);
    if (problem_) view.problem = problem_;
    return view;
  });
}

Downstream::~Downstream() {
  board_.set_serving({});
  stop_.raise();
  thread_->join();
}

void Downstream::work() {
  // The receiver in the same process may have renamed a file just when it was read: the first
  // failure before WAL is served is therefore not logged, but retried.
  bool may_pass = true;
  const auto failed = [&](const Error& error) {
    if (std::exchange(may_pass, false)) return kSoon;
    set_problem(error);
    log_.error(error);
    log_.warning("the archive cannot be served now; trying again in {}",
                 format_duration(try_again_));
    return try_again_;
  };
  const auto tell = [&](const std::string& what) {
    if (serving_.view().end) may_pass = false;
    set_problem(std::nullopt);
    log_.info("{}", what);
  };
  auto pause = try_again_;
  do {
    try {
      return serving_.run(stop_, tell);
    } catch (const Error& error) {
      if (error.kind() == ErrorKind::durability) durability_lost_(error);
      pause = failed(error);
    } catch (const std::exception& error) {
      pause = failed(unexpected(error));
    }
  } while (net::pause(stop_, pause));
}

void Downstream::set_problem(const std::optional<Error>& error) {
  const std::lock_guard lock(mutex_);
  const auto since = problem_ ? problem_->since : std::chrono::system_clock::now();
  problem_.reset();
  if (error)
    problem_ =
        archive::ServingProblem{error->what(), exit_status(error->kind()) == kNeedsPerson, since};
}

/// A client that has caught up would otherwise only learn that all is well.
void Downstream::receiver_has_ended(const Error& error) {
  serving_.set_last_word(report_of_end(error));
}

std::optional<archive::DurableEnd> Downstream::durable() const {
  const std::lock_guard lock(mutex_);
  return durable_;
}

/// Called under the stream's lock, so it does nothing else.
void Downstream::on_durable(const receive::event::DurableEnd& end) {
  const archive::DurableEnd durable{end.timeline, end.end};
  {
    const std::lock_guard lock(mutex_);
    durable_ = durable;
  }
  serving_.on_durable(durable);
}

/// Called under a lock of the clients, so it does nothing else.
void Downstream::on_feedback(const relay::Feedback& feedback) {
  receive::DownstreamWord word{.timeline = feedback.timeline, .applied = feedback.applied};
  if (feedback.xmins) word.needs = relay::feedback_of(*feedback.xmins);
  word_.set(word);
}

}  // namespace weir::cli
