#include "sim_relay.h"

#include <utility>

#include "relay/archive_end.h"
#include "sim_receiver.h"

namespace weir::sim {

namespace {

using namespace std::chrono_literals;

/// As many as a run can have.
constexpr unsigned kAllOfThem = 1'000'000;
constexpr auto kInterval = 500ms;
constexpr auto kTryAgain = 10s;

/// Something came to be true, or does not yet.
class When final : public Scheduler::Ready {
 public:
  explicit When(std::function<bool()> holds) : holds_(std::move(holds)) {}
  bool ready() override { return holds_(); }

 private:
  const std::function<bool()> holds_;
};

}  // namespace

class SimRelay::StandbyConnection final : public relay::Connection {
 public:
  StandbyConnection(SimStandby& standby, Scheduler& scheduler, Story& story)
      : standby_(standby), scheduler_(scheduler), story_(story) {}
  ~StandbyConnection() override { standby_.disconnect(); }

  std::optional<std::size_t> send_now(std::string_view bytes) override {
    if (!standby_.connected()) return std::nullopt;
    return bytes.empty() ? 0 : standby_.take(bytes);
  }
  std::optional<std::size_t> receive_now(std::span<char> bytes) override {
    if (!standby_.connected()) return std::nullopt;
    const auto said = standby_.say(bytes.size());
    std::copy(said.begin(), said.end(), bytes.begin());
    return said.size();
  }
  bool has_unsent() const override { return false; }
  void send_last(std::string_view bytes) override { static_cast<void>(send_now(bytes)); }
  void wait(bool receives, bool sends, std::optional<Threads::Time> until) override {
    When ready([&] {
      return woken_ || !standby_.connected() || (receives && standby_.has_something_to_say()) ||
             (sends && standby_.reads());
    });
    scheduler_.wait(&ready, until);
  }
  void wake() noexcept override { woken_ = true; }
  void clear_wake() noexcept override { woken_ = false; }
  relay::WalsenderState::Now now() override { return {story_.now, 0}; }

 private:
  SimStandby& standby_;
  Scheduler& scheduler_;
  Story& story_;
  bool woken_ = false;
};

SimRelay::SimRelay(std::unique_ptr<io::Directory> archive, receive::Feed& feed,
                   receive::Downstream& downstream,
                   std::vector<std::unique_ptr<SimStandby>>& standbys, Scheduler& scheduler,
                   Ledger& ledger, Random& random, Story& story)
    : archive_(std::move(archive)),
      downstream_(downstream),
      standbys_(standbys),
      scheduler_(scheduler),
      ledger_(ledger),
      random_(random),
      story_(story),
      trouble_(story, kAllOfThem),
      clients_({},
               [this](const relay::Feedback& feedback) {
                 receive::DownstreamWord word{.timeline = feedback.timeline,
                                              .applied = feedback.applied};
                 if (feedback.xmins) word.needs = relay::feedback_of(*feedback.xmins);
                 downstream_.set(word);
               }),
      listening_(feed.subscribe([this](const receive::Event& happened) {
        receive::on(happened, [this](const receive::event::DurableEnd& end) { on_durable(end); });
      })) {
  for (auto& standby : standbys_) standby->disconnect();
  ledger_.on_serving();
  scheduler_.start_beside("serve", [this] { serve(); });
}

SimRelay::~SimRelay() {
  for (auto& standby : standbys_) standby->disconnect();
}

/// Under the stream's lock.
void SimRelay::on_durable(const receive::event::DurableEnd& end) {
  durable_ = archive::DurableEnd{end.timeline, end.end};
  ledger_.on_told_durable(end.timeline, end.end);
  if (hub_ && hub_->on_durable_soon(end.timeline, end.end)) {
    ledger_.on_look();
    ledger_.on_looked();
    return;
  }
  news_ = true;
}

void SimRelay::serve() {
  for (;;) {
    auto again = kTryAgain;
    try {
      cluster_ = relay::find_cluster(*archive_);
      if (cluster_)
        if (const auto found = relay::find_served(*archive_, cluster_->segment_size)) {
          hub_.emplace(*found);
          break;
        }
      again = 1s;
    } catch (const Error& error) {
      if (error.kind() == ErrorKind::durability) throw ProcessDied{error};
      story_.tell("the archive cannot be served now: {}", error.what());
    }
    news_ = false;
    When news([this] { return news_; });
    scheduler_.wait(&news, story_.now + again);
  }
  story_.tell("serving timeline {} up to {}", hub_->served()->timeline(), hub_->served()->end);
  // Small pieces, so that there are often several to be read.
  relay::SharedWal::Options pieces;
  pieces.ahead = std::size_t{32} << 10;
  pieces.apart = pieces.ahead;
  pieces.window = 8 * pieces.ahead;
  wal_.emplace(*archive_, *cluster_, scheduler_, pieces);
  relay::Slots::Options options;
  options.answers = false;
  slots_.emplace(
      *archive_, *cluster_, options, *hub_, story_,
      [this](const std::optional<relay::Xmins>& held) { clients_.set_slots(held); }, scheduler_);
  serves_ = true;
  look_until_the_end();
}

void SimRelay::look_until_the_end() {
  relay::ArchiveLook look(
      *archive_, *cluster_, [this] { return durable_; }, nullptr, nullptr, *hub_, story_,
      scheduler_, [](const Error& error) { throw ProcessDied{error}; });
  for (;;) {
    news_ = false;
    ledger_.on_look();
    look.look();
    ledger_.on_looked();
    When news([this] { return news_; });
    scheduler_.wait(&news, story_.now + kInterval);
  }
}

void SimRelay::tick(bool quiet) {
  if (!serves_) return;
  for (auto& standby : standbys_) {
    standby->tick(quiet);
    if (standby->connected()) continue;
    const auto name = "walsender " + standby->name();
    if (scheduler_.running(name) || !random_.one_in(10)) continue;
    standby->connect();
    scheduler_.start_beside(name, [this, &standby = *standby] {
      StandbyConnection connection(standby, scheduler_, story_);
      relay::Walsender({.user = "repl",
                        .application_name = standby.name(),
                        .address = "10.0.0.1",
                        .process = ++processes_},
                       connection,
                       {*archive_, *cluster_, *wal_, *hub_, *slots_, clients_, story_, trouble_})
          .run();
    });
  }
}

}  // namespace weir::sim
