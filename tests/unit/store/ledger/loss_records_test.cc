#include "store/ledger/loss_records.h"

#include <gtest/gtest.h>

#include "support/bytes.h"
#include "support/memory_store.h"

namespace weir::store::loss_records_test {
namespace {

const Layout kLayout(Layout::Form::barman, {"memory", "p"}, "main");

/// Uploads wait for the records: one that cannot be replaced must not hold them up for good.
TEST(LossRecords, StayWhereTheCredentialsMayNotReplaceThem) {
  const std::string name = ".pgweir-loss-hole-1-0-3000000";
  const std::string other = ".pgweir-loss-hole-1-0-5000000";
  const std::string third = ".pgweir-loss-hole-1-0-7000000";
  const auto key = kLayout.key_of(name).value();
  test::MemoryStore store;
  EXPECT_EQ(mirror_losses({{name, test::bytes_of("short")}}, store, kLayout, kOnce), 1u);
  EXPECT_EQ(mirror_losses({{name, test::bytes_of("longer")}}, store, kLayout, kOnce), 1u);
  EXPECT_EQ(store.objects.at(key).bytes, test::bytes_of("longer"));
  store.replaces = false;
  const LossRecords both{{name, test::bytes_of("longest")}, {other, test::bytes_of("new")}};
  EXPECT_EQ(mirror_losses(both, store, kLayout, kOnce), 1u);
  EXPECT_EQ(store.objects.at(key).bytes, test::bytes_of("longer"));
  EXPECT_TRUE(store.objects.contains(kLayout.key_of(other).value()));
  // Without the right to create objects nothing can be sent.
  store.fault = [](const test::MemoryStore::Call& call) {
    return call.what == "put" ? test::MemoryStore::Fault::refused : test::MemoryStore::Fault::none;
  };
  EXPECT_THROW(mirror_losses({{third, test::bytes_of("new")}}, store, kLayout, kOnce), StoreError);
}

}  // namespace
}  // namespace weir::store::loss_records_test
